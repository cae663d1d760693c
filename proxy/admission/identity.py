"""What an upstream is told of who comes: the headers of `auth.identity`. A client's own lines of these names never
pass, on no leg and on no route, so an upstream may believe them. Nor do spellings that some servers cannot tell from
these: other signs in the place of a dash."""

from __future__ import annotations

import re

from proxy.admission.identity_token import IdentityMint
from proxy.config.model import Identity
from proxy.messages import Headers, Principal, RequestHead

_ODD = re.compile(rb"[^0-9a-z]")


class IdentityHeaders:
    """`names` are what is stripped, lower case. `mint` signs the token where one is configured."""

    def __init__(self, identity: Identity, mint: IdentityMint | None) -> None:
        self.names = frozenset(name.lower().encode() for name in identity.headers)
        # `X.User.Id` is `HTTP_X_USER_ID` too, where a server makes a variable of each field.
        self._alike = re.compile(b"|".join(_ODD.sub(rb"[^0-9a-z\n]", name) for name in self.names))
        self.mint = mint
        self.public_path = b""
        self._subject = (identity.subject or "").encode()
        self._scopes = (identity.scopes or "").encode()
        self._token = b""
        if identity.token is not None:
            self._token = identity.token.header.encode()
            self.public_path = (identity.token.public_path or "").encode()

    def strip(self, request: RequestHead) -> None:
        """From here on the client's own lines go nowhere; selectors of routes without `auth` still read them."""
        alike = self._alike
        if self.names and alike.search(b"\n".join(request.fields)):
            request.headers = [line for line in request.headers if not alike.fullmatch(line[0].lower())]

    def verified(self, request: RequestHead) -> None:
        """What selectors read from now on is what was verified, or nothing: not what the client wrote."""
        fields, principal = request.fields, request.principal
        for name in self.names:
            fields.pop(name, None)
        if principal is None:
            return
        if self._subject and principal.subject:
            fields[self._subject.lower()] = principal.subject.encode()
        if self._scopes:
            fields[self._scopes.lower()] = " ".join(principal.scopes).encode()

    def lines(self, principal: Principal) -> Headers:
        """For upstreams. An API key has no subject: its name must not be taken for a user's."""
        lines: Headers = []
        if self._subject and principal.subject:
            lines.append((self._subject, principal.subject.encode()))
        if self._scopes:
            lines.append((self._scopes, " ".join(principal.scopes).encode()))
        if self.mint is not None:
            lines.append((self._token, self.mint.token_for(principal)))
        return lines
