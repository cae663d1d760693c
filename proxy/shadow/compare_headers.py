"""The header fields that clients act upon, each by what it means. Knows no body; Content-Type is the caller's.

Only a list of names is compared: what else differs between two servers (Date, Server, ETag, connection management) is
no difference to a client. A field that is missing on one side is never noise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Final
from urllib.parse import urljoin, urlsplit

from proxy.shadow.answer import Answer, Ask
from proxy.shadow.cookies import guards_differ, read_cookies, shown
from proxy.shadow.difference import MISSING, Found, Severity
from proxy.shadow.rules import Rules

Meaning = Callable[[Sequence[str], str], Hashable]
"""Of the values of one field on one side, with the URL that was asked: equal where a client takes them alike."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LISTED: Final = re.compile(r"(?:[^,\"<]|\"(?:[^\"\\]|\\.)*(?:\"|$)|<[^>]*(?:>|$))+")
_SEMICOLONS: Final = re.compile(r"(?:[^;\"]|\"(?:[^\"\\]|\\.)*(?:\"|$))+")
_NONCE: Final = re.compile(r"'nonce-[^']*'")
_RANDOM: Final = frozenset(("nonce", "opaque", "cnonce"))  # RFC 7616 3.3: new with every challenge


def _elements(values: Sequence[str]) -> list[str]:
    """The elements of a list field (RFC 9110 5.6.1) over all its lines; commas in quotes and <> do not part."""
    return [one.strip() for value in values for one in _LISTED.findall(value) if one.strip()]


def _parameters(text: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """`value; name=text; name="text"` as (value, parameters), quotes off."""
    first, *rest = [part.strip() for part in _SEMICOLONS.findall(text)] or [""]
    return first, frozenset(_parameter(part) for part in rest if part)


def _parameter(part: str) -> tuple[str, str]:
    name, _, text = part.partition("=")
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return name.strip().lower(), text


def _exact(values: Sequence[str], url: str) -> Hashable:
    return ", ".join(values)


def _set(values: Sequence[str], url: str) -> Hashable:
    return frozenset(_elements(values))


def _folded_set(values: Sequence[str], url: str) -> Hashable:
    return frozenset(one.lower() for one in _elements(values))


def _directives(values: Sequence[str], url: str) -> Hashable:
    """Cache-Control: names without regard to case (RFC 9111 5.2)."""
    return frozenset(_parameter(one) for one in _elements(values))


def _location(values: Sequence[str], url: str) -> Hashable:
    return tuple(resolved(value, url) for value in values)


def _links(values: Sequence[str], url: str) -> Hashable:
    """RFC 8288 3."""
    links = (_parameters(one) for one in _elements(values))
    return frozenset((resolved(target.strip("<>"), url), parameters) for target, parameters in links)


def _disposition(values: Sequence[str], url: str) -> Hashable:
    kind, parameters = _parameters(", ".join(values))
    return kind.lower(), parameters


def _challenges(values: Sequence[str], url: str) -> Hashable:
    """Schemes and their parameters (RFC 9110 11.6.1) but for what is random by definition."""
    found: set[tuple[str, str]] = set()
    for one in _elements(values):
        scheme, gap, rest = one.partition(" ")
        if "=" not in scheme:
            found.add((scheme.lower(), ""))
            one = rest if gap else ""
        name, text = _parameter(one)
        if name and name not in _RANDOM:
            found.add((name, text))
    return frozenset(found)


def _policies(values: Sequence[str], url: str) -> Hashable:
    """Content-Security-Policy: directives and sources have no order; nonces are random by definition."""
    policies = []
    for value in _elements([_NONCE.sub("'nonce-'", value) for value in values]):
        words = (part.split() for part in value.split(";"))
        policies.append(frozenset((names[0].lower(), frozenset(names[1:])) for names in words if names))
    return frozenset(policies)


def _transport(values: Sequence[str], url: str) -> Hashable:
    """Strict-Transport-Security: only the first line counts (RFC 6797 8.1)."""
    return frozenset(_parameter(part) for part in values[0].split(";") if part.strip())


def _retry(values: Sequence[str], url: str) -> Hashable:
    """Seconds; that it is a date, but not which one: that is clock noise."""
    return ", ".join(value if value.isdigit() else "a date" for value in values)


_MEANINGS: Final[dict[str, Meaning]] = {
    "location": _location,
    "cache-control": _directives,
    "vary": _folded_set,
    "allow": _set,
    "www-authenticate": _challenges,
    "content-disposition": _disposition,
    "content-language": _folded_set,
    "retry-after": _retry,
    "link": _links,
    "access-control-allow-origin": _exact,
    "access-control-allow-credentials": _folded_set,
    "access-control-allow-methods": _set,
    "access-control-allow-headers": _folded_set,
    "access-control-expose-headers": _folded_set,
    "access-control-max-age": _exact,
    "content-security-policy": _policies,
    "strict-transport-security": _transport,
    "x-frame-options": _folded_set,
    "content-location": _location,
    "proxy-authenticate": _challenges,
}
_USUAL: Final = frozenset(_MEANINGS) - {"content-location", "proxy-authenticate"}
_GUARDING: Final = frozenset(
    ("www-authenticate", "content-security-policy", "strict-transport-security", "x-frame-options")
)


def _guards(name: str) -> bool:
    """Whether a browser's or client's safety hangs on it."""
    return name in _GUARDING or name.startswith("access-control-")


def compare_headers(ask: Ask, control: Answer, candidate: Answer, rules: Rules, found: Found) -> None:
    """All but Content-Type."""
    if control.headers == candidate.headers and not rules.rewrites:
        return
    left, right = _values(control, rules), _values(candidate, rules)
    urls = request_urls(ask)
    for name in dict.fromkeys((*left, *right)):
        if name == "set-cookie":
            _compare_cookies(left.get(name, ()), right.get(name, ()), rules, found)
        elif left.get(name) != right.get(name):
            _compare_field(name, left.get(name), right.get(name), urls, found)


def _values(answer: Answer, rules: Rules) -> dict[str, list[str]]:
    """By name in lower case, of the names that are compared."""
    found: dict[str, list[str]] = {}
    for raw, value in answer.headers:
        name = raw.lower().decode("latin-1")
        if (name in _USUAL or name == "set-cookie" or name in rules.headers) and name not in rules.ignored_headers:
            found.setdefault(name, []).append(rules.rewritten(value.strip().decode("latin-1")))
    found.pop("content-type", None)
    return found


def _compare_field(
    name: str, left: list[str] | None, right: list[str] | None, urls: Sequence[str], found: Found
) -> None:
    meaning = _MEANINGS.get(name, _exact)
    if left is not None and right is not None and any(meaning(left, url) == meaning(right, url) for url in urls):
        return
    one = MISSING if left is None else ", ".join(left)
    other = MISSING if right is None else ", ".join(right)
    found.add(f"header:{name}", "header", one, other, severity="blocking" if _guards(name) else None)


def _compare_cookies(left: Sequence[str], right: Sequence[str], rules: Rules, found: Found) -> None:
    one, other = read_cookies(left, rules.cookie_values), read_cookies(right, rules.cookie_values)
    if one == other:
        return
    severity: Severity = "blocking" if guards_differ(one, other) else "mismatch"
    control, candidate = (shown(cookies) if cookies else MISSING for cookies in (one, other))
    found.add("header:set-cookie", "header", control, candidate, severity=severity, structural=True)


def request_urls(ask: Ask) -> tuple[str, ...]:
    """The URL that was asked, two where its scheme is not known; of a target in absolute form the target itself."""
    target = ask.target.decode("latin-1")
    if target.startswith(("http://", "https://")):
        return (target,)
    rest = f"://{ask.host.decode('latin-1')}{target if target.startswith('/') else '/'}"
    return tuple(scheme + rest for scheme in ((ask.scheme,) if ask.scheme else ("https", "http")))


def resolved(reference: str, url: str) -> str:
    """An absolute URL (RFC 3986 5.2) with scheme and host in lower case and no default port; what is none as it is."""
    try:
        parts = urlsplit(urljoin(url, reference))
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError:
        return reference
    if not host:
        return parts.geturl()
    host = f"[{host}]" if ":" in host else host
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    shown_port = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    path = parts.path or "/"
    return parts._replace(netloc=f"{user}{host}{shown_port}", path=path).geturl()
