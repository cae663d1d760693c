"""Who sends a request, and may he come in. Finds the credential in the head, asks the parts that know tokens and keys.

A token is read from the one Authorization line (scheme `Bearer`, in any letter case), never from the query or a body
(RFC 9700 4.3.2); an API key from the configured field; a session from the monolith's cookie. Where several are sent and
taken, the first of these decides: a bad one is refused whatever stands beside it. Knows no seam; the rule of the route
is passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from proxy.admission.auth_rules import ApiKeyRule, AuthRule, IssuerRule
from proxy.admission.jwks import Keys
from proxy.admission.refusal import Challenge, Refusal
from proxy.admission.session import Sessions, SessionUnreachable
from proxy.admission.token import MOST_BYTES, Token, Unfit, check_claims, check_signature, principal_of, read_token
from proxy.admission.token_cache import TokenCache
from proxy.messages import Principal, RequestHead


@dataclass(frozen=True, slots=True)
class Issuer:
    rule: IssuerRule
    keys: Keys


@dataclass(slots=True, init=False)
class Verdict:
    """`principal` None: nobody known. `refusal` says why the request may not come in; with `enforced` False it is what
    would have been said, and the request goes on."""

    principal: Principal | None
    refusal: Refusal | None
    enforced: bool

    # Written out, as in messages.py.
    def __init__(self, principal: Principal | None, refusal: Refusal | None = None, enforced: bool = True) -> None:
        self.principal = principal
        self.refusal = refusal
        self.enforced = enforced

    @property
    def refused(self) -> bool:
        return self.refusal is not None and self.enforced

    @property
    def outcome(self) -> str:
        """For `fig_auth_total`: ok, unauthenticated, forbidden, no_keys, no_session or key_awaited, and `would_` before
        it where it is only observed."""
        refusal = self.refusal
        if refusal is None:
            return "ok"
        word = refusal.reason if refusal.reason in ("no_keys", "no_session", "key_awaited") else refusal.cause
        return word if self.enforced else f"would_{word}"


@dataclass(frozen=True, slots=True)
class _Missing:
    """The key that a token names is not here, and may be had."""

    keys: Keys
    kid: str | None
    algorithm: str


@dataclass(frozen=True, slots=True)
class _Asking:
    """Only the monolith can say whose session it is."""

    sessions: Sessions
    sid: bytes


class Authenticator:
    """`issuers` by the name in the configuration. `wanted`: claims that selectors read. `clock` gives seconds since
    1970, for `exp` is one of those."""

    def __init__(
        self,
        issuers: Mapping[str, Issuer],
        api_keys: Iterable[ApiKeyRule] = (),
        *,
        api_key_header: str = "x-api-key",
        wanted: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        cache: TokenCache | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._issuers = dict(issuers)
        self._api_key_header = api_key_header.lower()
        self._api_key_field = self._api_key_header.encode("ascii")
        self._api_keys = tuple(
            (bytes.fromhex(rule.sha256), Principal("", rule.scopes, "", rule.name)) for rule in api_keys
        )
        self._wanted = tuple(wanted)
        self._clock = clock
        self._cache = TokenCache() if cache is None else cache
        self._sessions = sessions

    async def authenticate(self, head: RequestHead, rule: AuthRule) -> Verdict:
        """Waits only where a token names a key that is not here and may be fetched now, or a session is not known yet.
        Raises nothing."""
        verdict = self.check(head, rule)
        return await self.after_fetch(head, rule) if verdict is None else verdict

    def check(self, head: RequestHead, rule: AuthRule) -> Verdict | None:
        """Without waiting. None: go on with `after_fetch`."""
        found = self._examine(head, rule, True)
        if isinstance(found, _Asking):  # also where it is only observed: without it nobody would know who came
            return None
        if not isinstance(found, _Missing):
            return self._verdict(found, rule)
        if rule.mode == "observe":  # a key set that cannot be reached must not delay whom nobody would refuse
            found.keys.begin_seek()
            return Verdict(None, self._challenge(rule).awaited(), False)
        return None

    def look(self, head: RequestHead, rule: AuthRule) -> Verdict | None:
        """As `check`, without asking anybody for anything. None: only the monolith could tell."""
        found = self._examine(head, rule, False)
        return None if isinstance(found, (_Missing, _Asking)) else self._verdict(found, rule)

    async def after_fetch(self, head: RequestHead, rule: AuthRule) -> Verdict:
        """As `check`, once what is missing has been looked for at its source."""
        found = self._examine(head, rule, True)
        if isinstance(found, _Asking):
            found = await self._asked(found, rule)
        if isinstance(found, _Missing):
            await found.keys.seek(found.kid, found.algorithm)
            again = self._examine(head, rule, False)
            assert isinstance(again, (Principal, Refusal))  # a token was there, and is
            found = again
        return self._verdict(found, rule)

    async def _asked(self, asking: _Asking, rule: AuthRule) -> Principal | Refusal:
        try:
            principal = await asking.sessions.look_up(asking.sid)
        except SessionUnreachable:
            return self._challenge(rule).sessionless()
        return self._challenge(rule).invalid("session") if principal is None else principal

    def _verdict(self, found: Principal | Refusal, rule: AuthRule) -> Verdict:
        if isinstance(found, Principal):
            if rule.all_scopes.issubset(found.scopes) and (
                not rule.any_scope or not rule.any_scope.isdisjoint(found.scopes)
            ):
                return Verdict(found)
            needed = tuple(sorted(rule.all_scopes)) + tuple(sorted(rule.any_scope - rule.all_scopes))
            weak = self._challenge(rule).insufficient(needed, bool(found.issuer))
            return Verdict(found, weak, rule.mode == "enforce")
        return Verdict(None, found, rule.mode == "enforce")

    def _challenge(self, rule: AuthRule) -> Challenge:
        cookie = self._sessions.rule.cookie if rule.session and self._sessions is not None else ""
        return Challenge(bool(rule.issuers), self._api_key_header if rule.api_keys else "", cookie)

    def _examine(self, head: RequestHead, rule: AuthRule, may_seek: bool) -> Principal | Refusal | _Missing | _Asking:
        """`may_seek`: a key that is not here may still be had."""
        if rule.issuers:
            field = head.fields.get(b"authorization")
            if field is not None and field[:6].lower() == b"bearer" and field[6:7] in (b" ", b""):
                return self._by_token(field[7:].strip(b" "), rule, may_seek)
        if rule.api_keys:
            key = head.fields.get(self._api_key_field)
            if key is not None:
                return self._by_api_key(key, rule)
        if rule.session and self._sessions is not None:
            sid = self._sessions.read(head)
            if sid is not None:
                return self._by_session(self._sessions, sid, rule)
        return self._challenge(rule).missing()

    def _by_session(self, sessions: Sessions, sid: bytes, rule: AuthRule) -> Principal | Refusal | _Asking:
        known = sessions.known(sid)
        if known is None:
            return _Asking(sessions, sid)
        return self._challenge(rule).invalid("session") if known.principal is None else known.principal

    def _by_api_key(self, key: bytes, rule: AuthRule) -> Principal | Refusal:
        """Every key is compared, in a time that tells nothing of which one it was."""
        digest = sha256(key).digest()
        found: Principal | None = None
        for known, principal in self._api_keys:
            if compare_digest(known, digest):
                found = principal
        if found is None or found.api_key not in rule.api_keys:
            return self._challenge(rule).invalid("api_key")
        return found

    def _by_token(self, compact: bytes, rule: AuthRule, may_seek: bool) -> Principal | Refusal | _Missing:
        if len(compact) > MOST_BYTES:
            return self._challenge(rule).invalid("too_long")
        now_s = self._clock()
        known = self._cache.find(compact, now_s)
        if known is not None and known.issuer in rule.issuers:
            return known
        try:
            token = read_token(compact)
            issuer = self._issuer_of(token, rule, now_s)
            return self._by_signature(compact, token, issuer, rule, now_s, may_seek)
        except Unfit as unfit:
            return self._challenge(rule).invalid(str(unfit))

    def _issuer_of(self, token: Token, rule: AuthRule, now_s: float) -> Issuer:
        """The first of the rule whose claims the token has: two may share an `iss` and differ in audience. Raises Unfit
        with what the last of them found wrong."""
        wrong = Unfit("issuer")
        for name in rule.issuers:
            issuer = self._issuers.get(name)
            if issuer is None or issuer.rule.issuer != token.issuer:
                continue
            try:
                check_claims(token, issuer.rule, now_s)
            except Unfit as unfit:
                wrong = unfit
                continue
            return issuer
        raise wrong

    def _by_signature(
        self, compact: bytes, token: Token, issuer: Issuer, rule: AuthRule, now_s: float, may_seek: bool
    ) -> Principal | Refusal | _Missing:
        keys, kid, algorithm = issuer.keys, token.jws.kid, token.jws.algorithm
        candidates = keys.find(kid, algorithm)
        if not candidates:
            if may_seek and keys.may_seek():
                return _Missing(keys, kid, algorithm)
            if keys.empty():
                return self._challenge(rule).keyless(issuer.rule.cooldown_s)
            raise Unfit("unknown_key")
        try:
            check_signature(token.jws, candidates)
        except Unfit:
            # It named no key, or none that has a name: the one that signed it may be new.
            if may_seek and any(key.kid is None or kid is None for key in candidates) and keys.may_seek():
                return _Missing(keys, kid, algorithm)
            raise
        principal = principal_of(token, issuer.rule, self._wanted)
        expires_s = principal.expires_s
        assert expires_s is not None
        self._cache.keep(compact, principal, keys, expires_s + issuer.rule.leeway_s, now_s)
        return principal
