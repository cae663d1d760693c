"""The text of an API key, and the hash by which the configuration knows it. Pure: the random bytes are passed in.

A key is 32 random bytes, so a plain hash is enough: nobody can guess them, and a slow hash has nobody to slow.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

SECRET_BYTES = 32
PREFIX = "fig_"  # what secret scanners look for


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`text` is what a client sends, `sha256` what the configuration holds."""

    text: str
    sha256: str


def api_key_of(secret: bytes) -> ApiKey:
    """Of 32 random bytes: `fig_` and 43 characters of base64url. Raises ValueError for another number of bytes."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"an API key is made of {SECRET_BYTES} random bytes, not of {len(secret)}")
    text = PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode("ascii")
    return ApiKey(text, sha256(text.encode("ascii")).hexdigest())
