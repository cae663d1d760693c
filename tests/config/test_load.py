from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.load import Check, Loaded, fingerprint, from_flags, load
from proxy.config.model import Settings
from proxy.config.shape import NOT_AVAILABLE
from proxy.errors import ConfigError
from proxy.routing.table import check as tied

BASE = """\
version: 1
default: monolith
upstreams:
  monolith: {endpoints: ["http://10.0.0.1:8000"]}
  catalog: {endpoints: ["http://10.0.0.2:8101"]}
"""

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Writes files by name and gives the first, spelled from the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        return Path(next(iter(files)))

    return write


def problems(path: Path, environ: Mapping[str, str] | None = None, checks: Iterable[Check] = (tied,)) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, tuple(checks))
    return [str(problem) for problem in caught.value.problems]


def places(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """`LINE:COL CODE` of each problem."""
    return [" ".join(problem.split(" ")[:2]).partition(":")[2] for problem in problems(path, environ)]


def test_ten_mistakes_are_ten_problems_in_file_order(folder: Folder) -> None:
    path = folder(
        {
            "fig.yaml": """\
version: 1
server: {listn: 127.0.0.1:8080, limits: {max_headers: many}}
store: sqlite
upstreams:
  monolith: {endpoints: [http://127.0.0.1:8000], max_queue: 5}
default: monolit
seams:
  catalog:
    routes:
      - {path: "/p/{id}", methods: [get]}
    extracted: monolith
    stage: canery
    percent: 110
    sticky_by: [headr.x]
    auth: {}
"""
        }
    )
    assert problems(path) == [
        "fig.yaml:2:10 FIG006 unknown key `listn` in `server` (did you mean `listen`?)",
        "fig.yaml:2:55 FIG009 `max_headers` must be a whole number, not many",
        "fig.yaml:3:8 FIG106 `sqlite` is not a store: write sqlite:PATH or memory",
        "fig.yaml:5:50 FIG131 `max_queue` has no meaning without `max_in_flight`: add that, or remove it",
        "fig.yaml:6:10 FIG115 unknown upstream `monolit` (did you mean `monolith`?)",
        "fig.yaml:10:37 FIG221 `get` would never match, for methods are case-sensitive: write GET",
        "fig.yaml:12:12 FIG010 `stage` must be legacy or shadow or canary or extracted or retired, not canery"
        " (did you mean `canary`?)",
        "fig.yaml:13:14 FIG010 `percent` must be at most 100, not 110",
        "fig.yaml:14:17 FIG212 `headr.x` is not a selector (did you mean `header.x`?): known are"
        " jwt.CLAIM, api_key, header.NAME, cookie.NAME, path.NAME, client_ip",
        "fig.yaml:15:5 FIG252 `auth` names nobody who may come in: write `issuers`, `api_keys` or both",
    ]


LATER = {
    "{0}: 1": "workers",
    "server: {{{0}: 1}}": "workers",
    "telemetry: {{{0}: 1}}": "metrics traces",
}


@pytest.mark.parametrize(
    ("section", "key"), [(section, key) for section, keys in LATER.items() for key in keys.split()]
)
def test_keys_of_later_features_are_told_from_unknown_ones(folder: Folder, section: str, key: str) -> None:
    (problem,) = problems(folder({"fig.yaml": f"{BASE}{section.format(key)}\n"}))
    assert f" FIG007 `{key}` " in problem
    assert "not available yet" in problem


def test_every_key_of_a_later_feature_is_tried_here() -> None:
    assert sum(map(len, NOT_AVAILABLE.values())) == sum(len(keys.split()) for keys in LATER.values())


def test_a_broken_upstream_does_not_make_its_name_unknown(folder: Folder) -> None:
    path = folder(
        {
            "fig.yaml": """\
version: 1
default: monolith
upstreams:
  monolith: http://127.0.0.1:8000
  catalog: {endpoints: 5}
seams:
  a: {routes: [{path: /a}], extracted: catalog, deadline_s: 1}
"""
        }
    )
    assert places(path) == ["4:13 FIG009", "5:24 FIG009"]


def test_a_broken_key_does_not_bring_up_those_that_rest_on_it(folder: Folder) -> None:
    path = folder(
        {
            "fig.yaml": BASE
            + """\
seams:
  a: {routes: [{path: /a}], extracted: catalog, stage: canary, percent: lots, sticky_by: x}
  b: {routes: [{path: /b, params: 1}], extracted: 7, stage: extracted, requires: [c]}
  c: {routes: [{path: "/{x}/**", host: 1}], extracted: catalog, stage: extractd}
  d: {routes: 1, sticky_by: [path.id], legacy: "${UNSET}"}
"""
        }
    )
    assert places(path) == [
        "7:73 FIG009", "7:90 FIG009", "8:35 FIG009", "8:51 FIG009",
        "9:40 FIG009", "9:72 FIG010", "10:15 FIG009", "10:48 FIG011",
    ]  # fmt: skip


def test_broken_routes_tie_with_nothing_but_their_own_mistakes_show(folder: Folder) -> None:
    path = folder(
        {
            "fig.yaml": BASE
            + """\
seams:
  a: {routes: [{path: /a, host: 5}, {path: /b, methods: [get]}, {path: no-slash, hst: x}]}
  b: {routes: [{path: /a}, {path: /b}, {path: "/x/{y}"}, {path: "/x/{z}"}]}
  c: {routes: [{path: /a}]}
"""
        }
    )
    assert places(path) == ["7:33 FIG009", "7:58 FIG221", "7:65 FIG301", "7:82 FIG006", "8:58 FIG303", "9:16 FIG303"]


def test_checks_from_elsewhere_see_the_settings_and_find_places(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "seams:\n  a:\n    routes:\n      - path: /a\n"})

    def grumble(seen: Settings) -> Iterable[tuple[str, str, str]]:
        yield f"seams.{next(iter(seen.seams))}.routes[0].path", "FIG399", "not today"

    assert problems(path, checks=[grumble]) == ["fig.yaml:9:15 FIG399 not today"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "fig.yaml:1:1 FIG003 the file must hold a mapping of keys to values, not []"),
        ("version: 1: 2", "fig.yaml:1:11 FIG002 YAML syntax"),
        ("", "fig.yaml:1:1 FIG003 the file is empty"),
        ("---\n", "fig.yaml:1:1 FIG003 the file must hold a mapping of keys to values, not null"),
        ("default: null", "fig.yaml:1:1 FIG008 key `version` is missing: add for example `version: 1`"),
        ("version: true", "fig.yaml:1:10 FIG009"),
        ("version: 2", "fig.yaml:1:10 FIG010 `version` must be 1, not 2"),
        ("version: '1'", "fig.yaml:1:10 FIG010 `version` must be 1, not 1: remove the quotes"),
        ("version: 1\nseams:\n", "fig.yaml:2:1 FIG009 `seams` must be a mapping, not null"),
        ("version: 1\n'': 1", "fig.yaml:2:1 FIG006 unknown key ``"),
        ("version: 1\nseams: {'': {legacy: x, routes: [{path: 5}]}}", "fig.yaml:2:9 FIG201"),
    ],
)
def test_files_that_hold_no_configuration(folder: Folder, text: str, problem: str) -> None:
    assert problems(folder({"fig.yaml": text}))[0].startswith(problem)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.yaml") == [
        f"{tmp_path}/no.yaml:1:1 FIG001 cannot read the file: No such file or directory"
    ]
    assert problems(tmp_path) == [f"{tmp_path}:1:1 FIG001 cannot read the file: Is a directory"]


def test_what_yaml_1_1_calls_booleans_are_strings(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "telemetry: {access_log: off}\nserver: {debug_headers: true}\n"})
    assert load(path, {}).settings.telemetry.access_log == "off"
    path = folder({"fig.yaml": BASE + "server: {debug_headers: on}\n"})
    assert problems(path) == ["fig.yaml:6:25 FIG009 `debug_headers` must be true or false, not on"]


def test_after_loading_every_seam_has_a_legacy_upstream_and_the_store_a_path(folder: Folder, tmp_path: Path) -> None:
    text = BASE + "seams:\n  a: {routes: [{path: /a}]}\n  b: {routes: [{path: /b}], legacy: catalog}\n"
    loaded = load(folder({"conf/fig.yaml": text}), {}).settings
    assert {name: seam.legacy for name, seam in loaded.seams.items()} == {"a": "monolith", "b": "catalog"}
    assert loaded.store == f"sqlite:{tmp_path}/conf/var/fig.db"
    assert load(folder({"fig.yaml": BASE + "store: 'memory:'\n"}), {}).settings.store == "memory:"
    assert load(folder({"fig.yaml": BASE + "store: memory\n"}), {}).settings.store == "memory:"
    assert load(folder({"fig.yaml": BASE + "store: sqlite:/x/fig.db\n"}), {}).settings.store == "sqlite:/x/fig.db"


def test_sources_name_the_line_of_every_key_and_item(folder: Folder) -> None:
    path = folder({
        "fig.yaml": BASE + "include: [seams/*.yaml]\n",
        "seams/a.yaml": "seams:\n  a:\n    routes:\n      - path: /a\n    extracted: catalog\n",
    })  # fmt: skip
    sources = load(path, {}).sources
    expected = {
        "version": "fig.yaml:1",
        "upstreams.catalog.endpoints[0]": "fig.yaml:5",
        "include[0]": "fig.yaml:6",
        "seams.a": "seams/a.yaml:2",
        "seams.a.routes": "seams/a.yaml:3",
        "seams.a.routes[0]": "seams/a.yaml:4",
        "seams.a.routes[0].path": "seams/a.yaml:4",
        "seams.a.extracted": "seams/a.yaml:5",
    }
    assert {path: sources.get(path) for path in expected} == expected


def test_warnings_leave_a_configuration_usable(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "seams: {a: {routes: [{path: /a}], extracted: catalog, sticky_by: [api_key]}}\n"})
    (warning,) = load(path, {}).warnings
    assert (warning.code, warning.severity, warning.line, warning.column) == ("FIG213", "warning", 6, 67)


def test_errors_and_warnings_come_together(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "seams: {a: {routes: [{path: /a}], extracted: nope, sticky_by: [api_key]}}\n"})
    assert [problem.split(" ")[1] for problem in problems(path)] == ["FIG115", "FIG213"]


def test_a_route_is_not_said_to_tie_while_one_of_its_conditions_is_unknown(folder: Folder) -> None:
    routes = "[{path: /a}, {path: /a, headers: {x-a: '${MISSING}'}}]"
    path = folder({"fig.yaml": BASE + f"seams: {{a: {{routes: {routes}}}}}\n"})
    assert [problem.split(" ")[1] for problem in problems(path)] == ["FIG011"]


# Interpolation


def test_values_come_from_the_environment_and_from_secret_files(folder: Folder, tmp_path: Path) -> None:
    path = folder({
        "fig.yaml": BASE + """\
admin: {listen: "0.0.0.0:${PORT}", token: "${file:secret}"}
server:
  limits:
    max_headers: ${N:-7}
""",
        "secret": "s3cret\n",
    })  # fmt: skip
    loaded = load(path, {"PORT": "9000"})
    assert loaded.settings.admin.address == ("0.0.0.0", 9000)
    assert loaded.settings.admin.token == "s3cret"
    assert loaded.settings.server.limits.max_headers == 7
    assert loaded.files == (Path("fig.yaml"), Path("secret"))


@pytest.mark.parametrize("token", ["12345", "007", "true", "null", "1e5", "0x10", ""])
def test_an_unquoted_expression_where_a_string_is_wanted_keeps_its_text(folder: Folder, token: str) -> None:
    path = folder({"fig.yaml": BASE + "admin:\n  token: ${TOKEN}\n"})
    assert load(path, {"TOKEN": token}).settings.admin.token == token


def test_values_from_expressions_are_not_shown(folder: Folder) -> None:
    path = folder({
        "fig.yaml": BASE + """\
admin: {token: '${file:secret}'}
server: {listen: '${A}', limits: {max_headers: '${A}'}}
store: x${A}
""",
        "secret": "hush hush",
    })  # fmt: skip
    said = problems(path, {"A": "hushed-password"})
    assert [problem.split(" ")[1] for problem in said] == ["FIG104", "FIG101", "FIG009", "FIG106"]
    assert "hush" not in " ".join(said)
    assert "`${A}`" in said[1]


def test_a_missing_variable_stands_beside_the_other_problems(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "admin: {token: '${NOPE}'}\nserver: {listen: '${NOPE:?set it}'}\nstor: x\n"})
    assert places(path) == ["6:16 FIG011", "7:18 FIG011", "8:1 FIG006"]


# Includes


SEAM = "seams:\n  {0}:\n    routes: [{{path: /{0}}}]\n"


def test_included_files_add_seams_and_upstreams(folder: Folder) -> None:
    path = folder({
        "conf/fig.yaml": BASE + """\
include: [seams/*.yaml, up.yaml, 'seams/a*.yaml']
seams: {c: {routes: [{path: /c}]}}
""",
        "conf/seams/b.yaml": SEAM.format("b"),
        "conf/seams/a.yaml": SEAM.format("a"),
        "conf/up.yaml": "upstreams: {search: {endpoints: ['http://10.0.0.3:1']}}\n",
    })  # fmt: skip
    loaded = load(path, {})
    assert set(loaded.settings.seams) == {"a", "b", "c"}
    assert set(loaded.settings.upstreams) == {"monolith", "catalog", "search"}
    assert [str(file) for file in loaded.files] == [
        "conf/fig.yaml", "conf/seams/a.yaml", "conf/seams/b.yaml", "conf/up.yaml",
    ]  # fmt: skip


def test_problems_of_included_files_name_them_and_follow_the_main_file(folder: Folder) -> None:
    path = folder({
        "fig.yaml": BASE + "include: [b.yaml, a.yaml]\nstor: x\n",
        "a.yaml": "seams: {a: {routes: [{path: /a}], extracted: nope}}\n",
        "b.yaml": "version: 1\ninclude: [c.yaml]\nserver: {}\nseams: {b: {routes: [{pth: /b}]}}\nupstreams: []\n",
    })  # fmt: skip
    assert [problem.split("` ")[0].split(": ")[0] for problem in problems(path)] == [
        "fig.yaml:7:1 FIG006 unknown key `stor",
        "b.yaml:1:1 FIG013 `version",
        "b.yaml:2:1 FIG013 an included file cannot include others",
        "b.yaml:3:1 FIG013 `server",
        "b.yaml:4:22 FIG008 key `path",
        "b.yaml:4:23 FIG006 unknown key `pth",
        "b.yaml:5:12 FIG009 `upstreams",
    ]


def test_a_name_in_two_files_is_refused_with_both_places(folder: Folder) -> None:
    path = folder({
        "fig.yaml": BASE + "include: ['*.yaml']\nseams:\n  a: {routes: [{path: /a}]}\n",
        "b.yaml": SEAM.format("a") + "upstreams:\n  catalog: {nonsense: 1}\n",
    })  # fmt: skip
    assert problems(path) == [
        "b.yaml:2:3 FIG015 `seams.a` stands in two files, first at fig.yaml:8: keep one",
        "b.yaml:5:3 FIG015 `upstreams.catalog` stands in two files, first at fig.yaml:5: keep one",
    ]


def test_a_file_that_cannot_be_read_makes_no_names_unknown(folder: Folder) -> None:
    path = folder({
        "fig.yaml": BASE + """\
include: [a.yaml, gone.yaml]
seams: {c: {routes: [{path: /c}], extracted: search, requires: [a]}}
""",
        "a.yaml": "seams: {a: ",
    })  # fmt: skip
    assert places(path) == ["6:19 FIG014", "2:1 FIG002"]


def test_a_glob_without_files_is_a_warning_and_expressions_are_refused(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "include: ['none/*.yaml']\n"})
    assert [warning.code for warning in load(path, {}).warnings] == ["FIG014"]
    path = folder({"fig.yaml": BASE + "include: ['${X}/*.yaml', 5]\n"})
    assert places(path, {"X": "y"}) == ["6:11 FIG011", "6:26 FIG009"]


def test_an_emptied_included_file_is_a_problem(folder: Folder) -> None:
    path = folder({"fig.yaml": BASE + "include: [a.yaml]\n", "a.yaml": ""})
    assert problems(path)[0].startswith("a.yaml:1:1 FIG003")


def test_relative_secrets_count_from_the_folder_of_the_main_file(folder: Folder) -> None:
    path = folder({
        "conf/fig.yaml": BASE + "include: [seams/a.yaml]\n",
        "conf/seams/a.yaml": "seams: {a: {routes: [{path: /a}], owner: '${file:team}'}}\n",
        "conf/team": "catalog",
    })  # fmt: skip
    assert load(path, {}).settings.seams["a"].owner == "catalog"


# Fingerprint


def test_the_fingerprint_changes_with_every_file_that_takes_part(folder: Folder) -> None:
    files = {
        "fig.yaml": BASE + "include: [seams/*.yaml]\nadmin: {token: '${file:secret}'}\n",
        "seams/a.yaml": SEAM.format("a"),
        "secret": "one",
    }
    path = folder(files)
    taking_part = load(path, {}).files
    seen = [fingerprint(path, taking_part)]

    def changed() -> bool:
        seen.append(fingerprint(path, taking_part))
        return seen[-1] not in seen[:-1]

    assert fingerprint(path, taking_part) == seen[0]
    for name in files:
        Path(name).write_text(files[name] + "# changed\n")
        assert changed(), name
    folder({"seams/b.yaml": SEAM.format("b")})
    assert changed()
    Path("seams/b.yaml").rename("seams/c.yaml")
    assert changed()
    Path("secret").unlink()
    assert changed()
    path.unlink()
    assert changed()


def test_a_fingerprint_waits_for_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fig.yaml")
    assert len(fingerprint(tmp_path / "fig.yaml", [tmp_path])) == 16


# Flags


def flags(path: str = "/api/products/**", percent: float = 10, legacy: str = "http://10.0.0.1:8000") -> Loaded:
    return from_flags(legacy, "http://10.0.0.2:8101/", path, percent, {"FIG_ADMIN_TOKEN": "t0ken"}, (tied,))


def test_flags_make_one_sticky_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = flags().settings
    seam = made.seams["products"]
    assert (seam.legacy, seam.extracted, made.default) == ("legacy", "extracted", "legacy")
    assert (seam.declared_stage, seam.declared_percent, seam.sticky_by) == ("canary", 10, ("client_ip",))
    assert made.upstreams["extracted"].endpoints == ("http://10.0.0.2:8101",)
    assert (made.store, made.admin.token) == (f"sqlite:{tmp_path}/var/fig.db", "t0ken")


@pytest.mark.parametrize(
    ("path", "name"), [("/api/x-y/{id}", "x-y"), ("/{id}", "seam"), ("/default/**", "seam"), ("/a/ä", "a")]
)
def test_the_seam_of_the_flags_is_named_after_its_path(path: str, name: str) -> None:
    assert list(flags(path).settings.seams) == [name]


def test_flags_take_https() -> None:
    made = flags("/api/**", 10, "https://shop.internal:443").settings
    assert made.upstreams["legacy"].endpoints == ("https://shop.internal:443",)
    assert made.upstreams["legacy"].secure


def test_problems_of_flags_name_the_flag() -> None:
    with pytest.raises(ConfigError) as caught:
        flags("/**", 101, "https://a")
    assert [(problem.file, problem.code) for problem in caught.value.problems] == [
        ("--legacy", "FIG111"), ("--path", "FIG206"), ("--percent", "FIG010"),
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        flags("no-slash")
    assert [(problem.file, problem.code) for problem in caught.value.problems] == [("--path", "FIG301")]


# Whatever the file says


_WORDS = st.sampled_from([
    "version", "server", "listen", "upstreams", "seams", "routes", "path", "endpoints", "a", "b", "stage", "canary",
    "percent", "include", "force", "rewrite", "requires", "default", "http://a:1", "/a", "", "*", "1", "methods",
])  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 101) | _WORDS | st.just("${A}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(_WORDS, _VALUES),
    st.dictionaries(st.sampled_from("ab"), st.dictionaries(_WORDS, _VALUES)),
)
def test_any_tree_loads_or_is_refused_with_places(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object], seams: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps({"version": 1, **tree, "seams": seams}))
    try:
        load(path, {}, (tied,))
    except ConfigError as error:
        assert any(problem.severity == "error" for problem in error.problems)
        assert all(re.fullmatch(r"FIG\d{3}", problem.code) and problem.line == 1 for problem in error.problems)


def test_two_thousand_seams_load_in_time(tmp_path: Path) -> None:
    lines = [BASE, "seams:"]
    for i in range(2000):
        lines.append(f"  s{i}:\n    routes: [{{path: '/api/s{i}/{{id}}', methods: [GET]}}, {{path: /api/s{i}/all/**}}]")
        lines.append("    extracted: catalog\n    stage: canary\n    percent: 5\n    sticky_by: [client_ip]")
    path = tmp_path / "fig.yaml"
    path.write_text("\n".join(lines))
    started = time.process_time()
    assert len(load(path, {}).settings.seams) == 2000
    assert time.process_time() - started < 1.5
