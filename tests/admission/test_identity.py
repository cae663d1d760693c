"""What upstreams are told of who comes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from proxy.admission.identity import IdentityHeaders
from proxy.admission.identity_token import IdentityMint
from proxy.config.model import Identity, IdentityToken
from proxy.messages import Headers, Principal, RequestHead

IDENTITY = Identity(subject="X-User-Id", scopes="x-user-scopes")


def _head(*lines: tuple[bytes, bytes]) -> RequestHead:
    fields = {name.lower(): value for name, value in lines}
    return RequestHead("GET", b"/", b"shop", list(lines), fields, 0, False, "192.0.2.1", "http")


def test_a_clients_own_lines_are_gone_and_selectors_still_read_them() -> None:
    head = _head((b"X-USER-ID", b"7"), (b"Accept", b"*/*"), (b"X-User-Scopes", b"admin"))
    IdentityHeaders(IDENTITY, None).strip(head)
    assert head.headers == [(b"Accept", b"*/*")]
    assert head.fields[b"x-user-id"] == b"7"


def test_nor_do_spellings_pass_that_read_as_one_of_them_where_fields_become_variables() -> None:
    twins = (b"X.User.Id", b"x!user-id", b"X'User|ID", b"x-user~scopes", b"X_User_Id")
    others = (b"x-user-ids", b"ax.user.id", b"xuserid", b"x-user")
    head = _head(*((name, b"root") for name in twins + others))
    IdentityHeaders(IDENTITY, None).strip(head)
    assert [name for name, _ in head.headers] == list(others)


def test_after_authentication_selectors_read_what_was_verified() -> None:
    head = _head((b"x-user-id", b"7"), (b"x-user-scopes", b"admin"))
    head.principal = Principal("8", ("a", "b"), issuer="shop")
    IdentityHeaders(IDENTITY, None).verified(head)
    assert (head.fields[b"x-user-id"], head.fields[b"x-user-scopes"]) == (b"8", b"a b")


def test_or_nothing() -> None:
    head = _head((b"x-user-id", b"7"), (b"x-user-scopes", b"admin"))
    IdentityHeaders(IDENTITY, None).verified(head)
    assert head.fields == {}
    head = _head((b"x-user-id", b"7"))
    head.principal = Principal("", ("a",), api_key="partner")
    IdentityHeaders(IDENTITY, None).verified(head)
    assert head.fields == {b"x-user-scopes": b"a"}


def test_lines_for_upstreams() -> None:
    headers = IdentityHeaders(IDENTITY, None)
    assert headers.lines(Principal("jürgen", ("a", "b"), issuer="shop")) == [
        (b"X-User-Id", "jürgen".encode()),
        (b"x-user-scopes", b"a b"),
    ]
    assert headers.lines(Principal("", (), api_key="partner")) == [(b"x-user-scopes", b"")]
    nothing: Headers = []
    assert IdentityHeaders(Identity(), None).lines(Principal("7", issuer="shop")) == nothing


def test_a_token_of_figs_own() -> None:
    token = IdentityToken(issuer="fig", audience="shop", header="x-who")
    mint = IdentityMint([ec.generate_private_key(ec.SECP256R1())], "fig", "shop", 60.0, lambda: 1000.0)
    headers = IdentityHeaders(Identity(token=token), mint)
    assert headers.names == {b"x-who"}
    ((name, value),) = headers.lines(Principal("7", issuer="shop"))
    assert name == b"x-who"
    assert value == mint.token_for(Principal("7", issuer="shop"))
