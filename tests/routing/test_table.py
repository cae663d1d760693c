from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Access, AuthRule, RouteConfig, SeamConfig
from proxy.errors import AmbiguousPath, BadRequest
from proxy.routing.table import RouteTable, RouteTableBuilder, compile_routes, resolve, ties


def seam(*routes: RouteConfig) -> SeamConfig:
    return SeamConfig(routes=routes, legacy="monolith", extracted="catalog")


def route(path: str, **conditions: Any) -> RouteConfig:
    return RouteConfig(path=path, **conditions)


def table(**seams: RouteConfig) -> RouteTable:
    return compile_routes((name, seam(config)) for name, config in seams.items())


def chosen(
    routes: RouteTable,
    target: bytes,
    method: str = "GET",
    host: bytes = b"shop.example",
    fields: Mapping[bytes, bytes] | None = None,
) -> str | None:
    match = resolve(routes, method, host, target, fields or {})
    return match and match.route.seam


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/api", "rest"),
        (b"/api/", "rest"),
        (b"/api/x/y", "rest"),
        (b"/api/products", "literal"),
        (b"/api/products/", "rest"),
        (b"/api/products/42", "one"),
        (b"/api/products/new", "new"),
        (b"/api/products/new/x", "rest"),
        (b"/apis", None),
        (b"/", None),
        (b"/api?x=/api/products", "rest"),
        (b"*", None),
    ],
)
def test_literal_beats_one_segment_beats_the_rest(target: bytes, name: str | None) -> None:
    routes = table(
        rest=route("/api/**"),
        one=route("/api/products/{id}"),
        new=route("/api/products/new"),
        literal=route("/api/products"),
    )
    assert chosen(routes, target) == name


def test_the_root_and_a_trailing_slash_are_literals() -> None:
    routes = table(root=route("/"), slash=route("/a/"), plain=route("/a"))
    assert [chosen(routes, target) for target in (b"/", b"/a/", b"/a")] == ["root", "slash", "plain"]


def test_one_segment_is_never_an_empty_one() -> None:
    routes = table(one=route("/a/{id}"), star=route("/*/b"))
    assert chosen(routes, b"/a/") is None
    assert chosen(routes, b"/a/x") == "one"
    assert chosen(routes, b"/x/b") == "star"


def test_a_more_specific_path_whose_conditions_fail_gives_way_to_the_next() -> None:
    routes = table(
        literal=route("/a/b", methods=("POST",)),
        one=route("/a/{x}", headers={"x-v": "2"}),
        rest=route("/a/**", host="other.example"),
        all=route("/**"),
    )
    assert chosen(routes, b"/a/b", method="POST") == "literal"
    assert chosen(routes, b"/a/b", fields={b"x-v": b"2"}) == "one"
    assert chosen(routes, b"/a/b", host=b"other.example:8080") == "rest"
    assert chosen(routes, b"/a/b") == "all"


def test_a_dead_end_below_a_literal_does_not_hide_a_wildcard() -> None:
    routes = table(deep=route("/a/b/c"), wild=route("/{x}/b/d"))
    assert chosen(routes, b"/a/b/d") == "wild"


def test_captured_segments_come_by_name_in_canonical_spelling() -> None:
    match = resolve(table(x=route("/{shop}/*/{id}")), "GET", b"h", b"/caf%c3%a9/y/%34%32?z", {})
    assert match is not None
    assert dict(match.params) == {"shop": b"caf%C3%A9", "id": b"42"}


def test_a_match_without_names_has_no_params() -> None:
    match = resolve(table(x=route("/a/*")), "GET", b"h", b"/a/b", {})
    assert match is not None and dict(match.params) == {}


def test_a_host_route_beats_one_for_any_host_and_only_for_its_host() -> None:
    routes = table(any=route("/a", methods=("GET",), headers={"x": "1"}), own=route("/a", host="Shop.Example"))
    assert chosen(routes, b"/a", fields={b"x": b"1"}) == "own"
    assert chosen(routes, b"/a", host=b"shop.example:8080") == "own"
    assert chosen(routes, b"/a", host=b"b.example", fields={b"x": b"1"}) == "any"


def test_a_host_route_whose_conditions_fail_gives_way_to_one_for_any_host() -> None:
    routes = table(any=route("/a"), own=route("/a", host="shop.example", methods=("POST",)))
    assert chosen(routes, b"/a", method="POST") == "own"
    assert chosen(routes, b"/a") == "any"


def test_on_one_path_methods_beat_headers_beat_query_beat_params() -> None:
    conditions: list[dict[str, Any]] = [
        {},
        {"params": {"x": "b"}},
        {"query": {"q": "1"}},
        {"headers": {"h": "1"}},
        {"headers": {"h": "1", "i": "1"}},
        {"methods": ("GET",)},
    ]
    for weaker in range(len(conditions) - 1):
        pair = {f"s{index}": route("/a/{x}", **conditions[index]) for index in (weaker, weaker + 1)}
        assert chosen(table(**pair), b"/a/b?q=1", fields={b"h": b"1", b"i": b"1"}) == f"s{weaker + 1}"


@pytest.mark.parametrize(
    "target",
    [
        b"/x/..%2Fadmin/y",
        b"/x/../admin/y",
        b"/x/%2e%2e/admin/y",
        b"//admin/y",
        b"/admin;v/y",
        b"/admin%2Fy",
        b"/admin\\y",
        b"/x/..;/admin/y",
    ],
)
def test_a_path_whose_readings_select_different_routes_is_refused(target: bytes) -> None:
    with pytest.raises(AmbiguousPath):
        resolve(table(admin=route("/admin/**")), "GET", b"h", target, {})


@pytest.mark.parametrize("target", [b"/files/a%2Fb", b"/files//x", b"/files/a;v=1", b"/files/a/../b"])
def test_a_path_whose_readings_agree_is_taken(target: bytes) -> None:
    assert chosen(table(files=route("/files/**"), admin=route("/admin/**")), target) == "files"


def test_two_routes_of_one_seam_are_still_two_routes() -> None:
    routes = compile_routes([("a", seam(route("/a/**"), route("/a/b/**")))])
    with pytest.raises(AmbiguousPath):
        resolve(routes, "GET", b"h", b"/a/c/../b/d", {})


ASKED = AuthRule(api_keys=("k",))


def guarded(path: str, auth: AuthRule | None = ASKED, access: Access | None = None, **conditions: Any) -> RouteConfig:
    return route(path, auth=auth, access=access, **conditions)


@pytest.mark.parametrize(
    "target",
    [
        b"/ADMIN/y",
        b"/Admin",
        b"/%41dmin/y",
        b"/x/..%2FADMIN/y",
        b"//ADMIN/y",
        b"/KIOSK/y",
        b"/%E2%84%AAiosk/y",  # the Kelvin sign is a k in lower case
        b"/kio%C5%BFk/y",  # the long s an s
        b"/%2561dmin/y",
        b"/%2541dmin/y%2500",
        b"/x%252F..%252fadmin/y",
        b"/x/%252e%252e/admin/y",
        b"/Orders/AB12",
        b"/orders/ab12",
        b"/mixed/y",
        b"/MIXED/y",
        b"//x/admin/y",  # a relative reference with a host, to whoever splits it like a URL
        b"//x@y:1/%61dmin",
        b"//x/..%2Fadmin/y",
        b"/\\x/ADMIN/y",
    ],
)
def test_a_path_that_a_less_strict_server_takes_to_a_guarded_route_is_refused(target: bytes) -> None:
    routes = table(
        admin=guarded("/admin/**"),
        kiosk=guarded("/kiosk/**", None, Access(allow=("10.0.0.0/8",))),
        orders=guarded("/orders/{id}", params={"id": "[A-Z0-9]+"}),
        mixed=guarded("/Mixed/**"),
        rest=route("/**"),
    )
    with pytest.raises(AmbiguousPath):
        resolve(routes, "GET", b"h", target, {})


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/admin/Y", "admin"),  # the same route
        (b"/shop/New", "shop"),  # another one, and the same guard
        (b"/OPEN/y", None),  # nobody is refused there
        (b"/Watched/y", None),
        (b"/ADMIN/health", None),  # an open one is more specific
        (b"/Post", None),  # another method
        (b"/open/100%25", "open"),
        (b"/open/%2561", "open"),
        (b"/admin/%2561", "admin"),
    ],
)
def test_a_less_strict_reading_is_no_concern_where_nobody_passes_by_a_guard(target: bytes, name: str | None) -> None:
    shop = SeamConfig(routes=(route("/shop/{id}"), route("/shop/new")), legacy="monolith", auth=ASKED)
    others = {
        "admin": guarded("/admin/**"),
        "health": route("/admin/health"),
        "open": route("/open/**"),
        "watched": guarded("/watched/**", AuthRule(api_keys=("k",), mode="observe")),
        "post": guarded("/post", methods=("POST",)),
    }
    routes = compile_routes([("shop", shop), *((name, seam(config)) for name, config in others.items())])
    assert chosen(routes, target) == name


@pytest.mark.parametrize("pattern", ["[A-Z0-9]+", "[!-^]+", r"[\x41-\x5A0-9]+"])
def test_a_guard_that_hangs_on_the_letter_case_of_a_segment_is_not_passed_by_in_the_other_one(pattern: str) -> None:
    routes = table(orders=guarded("/orders/{id}", params={"id": pattern}), rest=route("/**"))
    assert chosen(routes, b"/orders/AB12") == "orders"
    with pytest.raises(AmbiguousPath):
        resolve(routes, "GET", b"h", b"/orders/ab12", {})


def test_of_two_routes_that_differ_in_letter_case_the_guarded_one_counts() -> None:
    for order in (["/Admin", "/admin"], ["/admin", "/Admin"]):
        routes = table(**{f"s{path[1:]}": route(path) if path == "/Admin" else guarded(path) for path in order})
        assert chosen(routes, b"/admin") == "sadmin"
        with pytest.raises(AmbiguousPath):
            resolve(routes, "GET", b"h", b"/Admin", {})


def test_an_ambiguous_query_is_no_concern() -> None:
    assert chosen(table(a=route("/a")), b"/a?next=//b/../c;d%2F") == "a"


def test_a_target_that_is_no_path_is_refused() -> None:
    with pytest.raises(BadRequest):
        resolve(table(a=route("/a")), "GET", b"h", b"/a%00", {})


def test_methods_for_a_path_are_those_of_every_route_that_has_it() -> None:
    routes = table(
        read=route("/a/{id}", methods=("GET", "HEAD"), params={"id": "[0-9]+"}),
        write=route("/a/**", methods=("PUT",)),
        other=route("/a/1", methods=("PATCH",), host="other.example"),
        any=route("/a/1", headers={"x": "1"}),
    )
    assert routes.methods_for(b"/a/1") == {"GET", "HEAD", "PUT", "PATCH"}
    assert routes.methods_for(b"/a/%31", b"shop.example:80") == {"GET", "HEAD", "PUT"}
    assert routes.methods_for(b"/a/1", b"other.example") == {"GET", "HEAD", "PUT", "PATCH"}
    assert routes.methods_for(b"/a/x") == {"PUT"}
    assert routes.methods_for(b"/b") == frozenset()


def test_a_table_stays_as_built_while_the_builder_goes_on() -> None:
    builder = RouteTableBuilder()
    builder.add("a", seam(route("/a")))
    first = builder.build()
    builder.add("b", seam(route("/b")))
    assert chosen(first, b"/a") == "a"
    assert chosen(first, b"/b") is None
    assert chosen(builder.build(), b"/a") is None


def test_a_path_far_deeper_than_any_pattern_is_matched_by_what_it_starts_with() -> None:
    deep = b"/a" + b"/x" * 100_000
    assert chosen(table(rest=route("/a/**"), one=route("/a/{x}"), two=route("/a/{x}/{y}")), deep) == "rest"
    assert chosen(table(one=route("/a/{x}")), deep) is None


class Counted(dict[bytes, bytes]):
    lookups = 0

    def get(self, *key: Any) -> Any:
        self.lookups += 1
        return super().get(*key)


@pytest.mark.parametrize("count", [2, 2000])
def test_routes_of_other_hosts_and_paths_are_never_looked_at(count: int) -> None:
    hosts = [route("/a", host=f"h{index}.example", headers={"x": "1"}) for index in range(count)]
    others = [route(f"/{index}/{{id}}", headers={"x": "1"}) for index in range(count)]
    fields = Counted({b"x": b"1"})
    match = compile_routes([("s", seam(*hosts, *others))]).match("GET", b"h1.example", b"/a", None, fields)
    assert match is not None and match.route.index == 1
    assert fields.lookups == 1


def tie(*routes: RouteConfig) -> list[tuple[str, str]]:
    return [(where, code) for where, code, _ in ties([("s", seam(*routes))])]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (route("/{x}", params={"x": "[0-9]+"}), route("/{y}", params={"y": "[0-9]*"})),
        (route("/{x}/{y}", params={"x": "1"}), route("/{x}/{y}", params={"y": "1"})),
        (route("/{x}", params={"x": "[0-9]+"}), route("/{x}", params={"x": "[a-z]+"})),
        (route("/a", methods=("GET", "HEAD")), route("/a", methods=("HEAD", "PUT"))),
        (route("/a", headers={"x": "1"}), route("/a", headers={"y": "1"})),
        (route("/a", headers={"x": "1", "y": "1"}), route("/a", headers={"X": "1", "z": "1"})),
        (route("/a", query={"x": "1"}), route("/a", query={"y": "1"})),
    ],
)
def test_equally_specific_routes_that_one_request_can_match_are_tied(left: RouteConfig, right: RouteConfig) -> None:
    assert tie(left, right) == [("seams.s.routes[1]", "FIG302")]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (route("/a"), route("/a")),
        (route("/~a"), route("/%7ea")),
        (route("/a/{x}"), route("/a/{x}")),
        (route("/a/{x}"), route("/a/{y}")),
        (route("/a/{x}"), route("/a/*")),
        (route("/a", host="H.example"), route("/a", host="h.example")),
        (route("/a", methods=("GET", "PUT")), route("/a", methods=("PUT", "GET"))),
        (route("/a", headers={"X": "1"}), route("/a", headers={"x": "1"})),
        (route("/a/{x}", params={"x": "1"}), route("/a/{y}", params={"y": "1"})),
    ],
)
def test_routes_that_match_the_very_same_requests_are_duplicates(left: RouteConfig, right: RouteConfig) -> None:
    assert tie(left, right) == [("seams.s.routes[1]", "FIG303")]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (route("/a"), route("/a", methods=("GET",))),
        (route("/a"), route("/a/**")),
        (route("/a/{x}"), route("/{y}/b")),
        (route("/{x}"), route("/{x}", params={"x": "1"})),
        (route("/a", host="a"), route("/a", host="b")),
        (route("/a", methods=("GET",)), route("/a", methods=("PUT",))),
        (route("/a", headers={"x": "1"}), route("/a", headers={"x": "2"})),
        (route("/a", headers={"x": "1", "y": "1"}), route("/a", headers={"x": "2", "z": "1"})),
        (route("/a", query={"x": "1"}), route("/a", query={"x": "2"})),
        (route("/a", headers={"x": "1"}), route("/a", query={"x": "1"})),
    ],
)
def test_routes_that_specificity_or_a_condition_parts_are_not_tied(left: RouteConfig, right: RouteConfig) -> None:
    assert tie(left, right) == []


def test_routes_parted_among_themselves_are_not_tied_by_a_third_with_another_key() -> None:
    apart = (route("/a", headers={"x": "1"}), route("/a", headers={"x": "2"}), route("/a", headers={"y": "1"}))
    assert tie(*apart) == [("seams.s.routes[2]", "FIG302")]
    assert tie(apart[2], apart[0], apart[1]) == [("seams.s.routes[1]", "FIG302"), ("seams.s.routes[2]", "FIG302")]


def test_thousands_of_tenants_parted_by_one_header_are_not_compared_pair_by_pair() -> None:
    tenants = [route("/**", headers={"x-tenant": str(index)}) for index in range(5000)]
    assert tie(*tenants, tenants[0]) == [("seams.s.routes[5000]", "FIG303")]


def test_a_tie_names_both_places_and_the_cure() -> None:
    tied = seam(route("/y"), route("/x/*", methods=("GET", "PUT")))
    ((where, code, message),) = ties([("a", seam(route("/x/{id}", methods=("GET",)))), ("b", tied)])
    assert (where, code) == ("seams.b.routes[1]", "FIG302")
    assert "/x/*" in message and "seams.a.routes[0]" in message and "more specific" in message


def test_a_tie_with_several_routes_names_the_first() -> None:
    put = ("PUT",)
    first = (route("/a", methods=("GET",), headers={"x": "1"}), route("/a", methods=put, headers={"y": "1"}))
    rest = (route("/a", methods=put, headers={"x": "1"}), route("/a", methods=put, headers={"z": "1"}))
    messages = {where: message for where, _, message in ties([("s", seam(*first, *rest))])}
    assert "seams.s.routes[1]" in messages["seams.s.routes[3]"]


def test_every_malformed_path_and_every_tie_is_reported_in_file_order() -> None:
    assert tie(route("/a"), route("b"), route("/a"), route("/**/c"), route("/a")) == [
        ("seams.s.routes[1]", "FIG301"),
        ("seams.s.routes[2]", "FIG303"),
        ("seams.s.routes[3]", "FIG301"),
        ("seams.s.routes[4]", "FIG303"),
    ]


# A naive matcher: all routes, one after the other, the best by a key of its own.

SEGMENTS = ["a", "b", "{x}", "*"]
paths = st.builds(
    lambda segments, rest: "/" + "/".join(segments + rest),
    st.lists(st.sampled_from(SEGMENTS), max_size=2).filter(lambda segments: segments.count("{x}") < 2),
    st.sampled_from([[], ["**"]]),
)
methods = st.sampled_from([(), ("GET",), ("POST",), ("GET", "POST")])
conditions = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["1", "2"]), max_size=2)
configs = st.builds(
    lambda path, pattern, **rest: RouteConfig(path=path, params=pattern if "{x}" in path else {}, **rest),
    path=paths,
    pattern=st.sampled_from([{}, {"x": "a"}, {"x": "a|b"}]),
    methods=methods,
    host=st.sampled_from([None, "h", "i"]),
    headers=conditions,
    query=conditions,
)
targets = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4).map(lambda s: ("/" + "/".join(s)).encode())
queries = conditions.map(lambda pairs: "&".join(f"{k}={v}" for k, v in pairs.items()).encode() or None)


def path_matches(pattern: list[str], path: list[str]) -> bool:
    if pattern[:1] == ["**"]:
        return True
    if not pattern or not path:
        return pattern == path
    fits = path[0] != "" if pattern[0] in ("*", "{x}") else pattern[0] == path[0]
    return path_matches(pattern[1:], path[1:]) if fits else (not path[1:] and pattern[1:] == ["**"] and fits)


def path_rank(pattern: list[str]) -> list[int]:
    ranks = [{"**": 0, "*": 1, "{x}": 1}.get(segment, 2) for segment in pattern]
    return ranks if pattern[-1] == "**" else [*ranks, 9]


def naive(
    routes: Mapping[str, RouteConfig], method: str, host: str, path: str, query: str, fields: Mapping[str, str]
) -> list[str]:
    """Names of the best matching routes: more than one is a tie."""
    found = []
    for name, config in routes.items():
        pattern, segments = config.path[1:].split("/"), path[1:].split("/")
        value = segments[pattern.index("{x}")] if "{x}" in pattern and len(segments) > pattern.index("{x}") else ""
        if (
            path_matches(pattern, segments)
            and (not config.methods or method in config.methods)
            and config.host in (None, host)
            and all(fields.get(key) == wanted for key, wanted in config.headers.items())
            and all(f"{key}={wanted}" in query.split("&") for key, wanted in config.query.items())
            and all(value in allowed.split("|") for allowed in config.params.values())
        ):
            counts = [len(config.headers), len(config.query), len(config.params)]
            found.append(([path_rank(pattern), config.host is not None, config.methods != (), *counts], name))
    best = max((rank for rank, _ in found), default=None)
    return [name for rank, name in found if rank == best]


@given(
    st.lists(configs, max_size=8),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["h", "i", "j"]),
    targets,
    queries,
    conditions,
)
def test_the_table_agrees_with_a_naive_matcher_once_ties_are_removed(
    drawn: list[RouteConfig], method: str, host: str, path: bytes, query: bytes | None, fields: dict[str, str]
) -> None:
    named = {f"s{index}": config for index, config in enumerate(drawn)}
    tied = {where.split(".")[1] for where, _, _ in ties((name, seam(config)) for name, config in named.items())}
    routes = {name: config for name, config in named.items() if name not in tied}
    lines = {name.encode(): value.encode() for name, value in fields.items()}
    match = table(**routes).match(method, host.encode(), path, query, lines)
    found = [] if match is None else [match.route.seam]
    assert found == naive(routes, method, host, path.decode(), (query or b"").decode(), fields)


@given(st.permutations([f"/{a}/{b}" for a in ("a", "{x}", "**") for b in ("a", "{y}", "**") if a != "**"]), targets)
def test_file_order_never_matters(paths: list[str], target: bytes) -> None:
    def pattern(order: list[str]) -> str | None:
        match = compile_routes([("s", seam(*map(route, order)))]).match("GET", b"h", target, None, {})
        return match and match.route.pattern

    assert pattern(paths) == pattern(sorted(paths))
