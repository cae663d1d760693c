"""What the peers with a door ask for, in fig's words and in Envoy's: a token, and a limit that refuses nobody, so that
only its cost is seen. Starts nothing.

Both keep verified tokens, more than there are; both tell the client of the limit and pass the token on. fig counts for
each subject, Envoy for all together: a bucket for each would cost it more.
"""

from __future__ import annotations

from typing import Any

from bench.tokens import ALGORITHM, AUDIENCE, ISSUER
from proxy.admission.token_cache import MOST_ENTRIES

LIMIT_PER_S = 1_000_000
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"


def fig_issuers(jwks_file: str) -> dict[str, Any]:
    """`auth` of the configuration."""
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": jwks_file, "algorithms": [ALGORITHM]}
    return {"issuers": {"bench": issuer}}


def fig_seam() -> dict[str, Any]:
    """What a seam has more."""
    limit = {"name": "per-user", "requests": LIMIT_PER_S, "window_s": 1, "by": "jwt.sub"}
    return {"auth": {"issuers": ["bench"]}, "rate_limit": [limit]}


def envoy_filters(jwks: str, prefix: str) -> list[dict[str, Any]]:
    """`jwt_authn` and `local_ratelimit`, in this order; `jwks` is the key set itself."""
    return [_jwt_authn(jwks, prefix), _local_ratelimit()]


def _jwt_authn(jwks: str, prefix: str) -> dict[str, Any]:
    """Its cache is a table of one worker, by the whole token: signature and claims are not looked at again, times are.
    Left alone it would keep 100 tokens."""
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "require_expiration": True,
        "forward": True,
        "local_jwks": {"inline_string": jwks},
        "jwt_cache_config": {"jwt_cache_size": MOST_ENTRIES},
    }
    return {
        "name": "jwt_authn",
        "typed_config": {
            "@type": f"{_FILTERS}.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": prefix}, "requires": {"provider_name": "bench"}}],
        },
    }


def _local_ratelimit() -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "local_ratelimit",
        "typed_config": {
            "@type": f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "local_ratelimit",
            "token_bucket": {"max_tokens": LIMIT_PER_S, "tokens_per_fill": LIMIT_PER_S, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        },
    }
