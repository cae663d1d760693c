"""Files to settings, or to every problem that they have. Reads files; starts nothing and asks no network.

Problems stand in file order: the main file, then included ones as their patterns name them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from proxy.config import certificates, door, include, key_files, syntax
from proxy.config.document import Document, Interpolated, Site, read
from proxy.config.finding import Finding, lineage, printable
from proxy.config.interpolate import Interpolation
from proxy.config.model import RouteConfig, Settings
from proxy.config.shape import shape, show
from proxy.config.validate import validate
from proxy.errors import ConfigError, Problem

Check = Callable[[Settings], Iterable[tuple[str, str, str]]]
"""A check from elsewhere: (dotted path, code, message) for each thing that is wrong."""

_SECTIONS = ("upstreams", "seams")
_SHORTEST_SECRET = 4
_FLAG_STORE = "sqlite:var/fig.db"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that can be used. `sources` maps dotted paths to `FILE:LINE`; `files` are all that took part, secret
    files, certificates and keys included; `warnings` are the problems that leave a configuration usable. `digest` is
    equal for equal settings, however they are written down, as long as certificates and keys hold the same."""

    settings: Settings
    sources: Mapping[str, str]
    files: tuple[Path, ...]
    warnings: tuple[Problem, ...]
    digest: str


@dataclass(slots=True)
class _Draft:
    """What the files say together, before anything is judged. `incomplete`: names may be missing that a file has."""

    data: dict[str, Any]
    folder: Path
    main: str
    sites: dict[str, Site] = field(default_factory=dict)
    interpolated: dict[str, Interpolated] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    incomplete: bool = False

    def adopt(self, document: Document, refused: Set[str] = frozenset()) -> None:
        """The document's places and problems; where they are known already the older ones stand."""

        def taken(path: str) -> bool:
            return not refused or refused.isdisjoint(lineage(path))

        for path, site in document.sites.items():
            if taken(path):
                self.sites.setdefault(path, site)
        self.interpolated.update({path: value for path, value in document.interpolated.items() if taken(path)})
        self.broken.update(filter(taken, document.broken))
        self.problems.extend(document.problems)

    def void(self, finding: Finding) -> None:
        self.problems.append(self.problem(finding))
        self.incomplete = True

    def problem(self, finding: Finding) -> Problem:
        return _problem(finding, self.sites, self.interpolated, self.main)

    def report(self, document: Document, finding: Finding) -> None:
        """A finding about a document that has not been adopted."""
        self.problems.append(_problem(finding, document.sites, document.interpolated, self.main))


def _problem(
    finding: Finding, sites: Mapping[str, Site], interpolated: Mapping[str, Interpolated], main: str
) -> Problem:
    """The finding where it stands, without any value that came out of `${...}`."""
    message = finding.message
    for value in _interpolated_in(finding.path, interpolated):
        for text in (value.text, repr(value.text)[1:-1]):
            if len(text) >= _SHORTEST_SECRET:
                message = message.replace(text, value.expression)
    file, line, column = _place(finding, sites, main)
    return Problem(file, line, column, finding.code, printable(message), finding.severity)


def _interpolated_in(path: str, interpolated: Mapping[str, Interpolated]) -> Iterator[Interpolated]:
    """The value of the key itself, or those that lie in it, the longest first."""
    if path in interpolated:
        yield interpolated[path]
        return
    inner = [value for at, value in interpolated.items() if at.startswith((f"{path}.", f"{path}["))]
    yield from sorted(inner, key=lambda value: -len(value.text))


def _place(finding: Finding, sites: Mapping[str, Site], main: str) -> tuple[str, int, int]:
    for path in lineage(finding.path):
        if (site := sites.get(path)) is not None:
            at_key = finding.at_key or path != finding.path
            return (site.file, site.line, site.column) if at_key else (site.file, site.value_line, site.value_column)
    return main, 1, 1


def load(path: Path, environ: Mapping[str, str], checks: Sequence[Check] = ()) -> Loaded:
    """The configuration in `path` and what it includes. Raises ConfigError with every problem, warnings among them.

    `environ` is what `${NAME}` sees. `checks` come after the own ones, over the parts that are sound so far.
    """
    draft = _gather(path, environ)
    order = {str(file): i for i, file in enumerate(draft.files)}
    return _examine(draft, checks, lambda problem: (order.get(problem.file, 0), problem.line, problem.column))


def from_flags(
    legacy: str, extracted: str, path: str, percent: float, environ: Mapping[str, str], checks: Sequence[Check] = ()
) -> Loaded:
    """The configuration of `fig serve --legacy URL --extracted URL --path PATTERN --percent N`, without a file.

    Upstreams `legacy` and `extracted`; one seam, named after the last literal segment of the path. The store lies in
    the working folder. `FIG_ADMIN_TOKEN` of `environ` becomes the admin token. Raises ConfigError; a problem's file is
    then the name of the flag.
    """
    name = _seam_name(path)
    data: dict[str, Any] = {
        "version": 1,
        "admin": {"token": environ.get("FIG_ADMIN_TOKEN", "")},
        "store": _FLAG_STORE,
        "upstreams": {
            "legacy": {"endpoints": (legacy.removesuffix("/"),)},
            "extracted": {"endpoints": (extracted.removesuffix("/"),)},
        },
        "default": "legacy",
        "seams": {
            name: {
                "routes": ({"path": path},),
                "extracted": "extracted",
                "stage": "canary",
                "percent": percent,
                "sticky_by": ("client_ip",),
            }
        },
    }
    draft = _Draft(data, Path.cwd(), "command line", _flag_sites(name))
    return _examine(draft, checks, lambda problem: (problem.file,))


def _seam_name(path: str) -> str:
    literals = [segment for segment in path.split("/") if syntax.seam_name_problem(segment) is None]
    return literals[-1] if literals else "seam"


def _flag_sites(name: str) -> dict[str, Site]:
    flags = {
        "upstreams.legacy": "--legacy",
        "upstreams.extracted": "--extracted",
        "default": "--legacy",
        "admin.token": "$FIG_ADMIN_TOKEN",
        f"seams.{name}": "--path",
        f"seams.{name}.percent": "--percent",
    }
    return {path: Site(flag, 1, 1, 1, 1) for path, flag in flags.items()}


def fingerprint(path: Path, files: Iterable[Path]) -> bytes:
    """16 bytes that change when any of these files does: `path`, what its `include` matches now, and `files`.

    A file that is missing or cannot be read counts as that. A long main file is not parsed as a whole.
    """
    main = _content(path)
    included = [file for pattern in include.patterns_of(main or b"") for file in include.matches(path, pattern)]
    digest = blake2b(digest_size=16)
    for file in dict.fromkeys([path, *included, *files]):
        content = main if file == path else _content(file)
        name = str(file).encode("utf-8", "surrogateescape")
        size = -1 if content is None else len(content)
        digest.update(b"%d %d\n%b%b" % (len(name), size, name, content or b""))
    return digest.digest()


def _content(file: Path) -> bytes | None:
    """None for what is not there, or no regular file: reading must never wait."""
    try:
        return file.read_bytes() if file.is_file() else None
    except OSError:
        return None


def _gather(path: Path, environ: Mapping[str, str]) -> _Draft:
    interpolation = Interpolation(environ, path.parent)
    document = _read(path, interpolation)
    if not isinstance(document.value, dict):
        raise ConfigError(tuple(document.problems or [_no_mapping(path, document.value)]))
    draft = _Draft(document.value, path.parent, str(path))
    draft.adopt(document)
    draft.files.append(path)
    for file in _included(draft, path):
        draft.files.append(file)
        _merge(draft, _read(file, interpolation), file)
    draft.files.extend(interpolation.files)
    return draft


def _read(file: Path, interpolation: Interpolation) -> Document:
    try:
        raw = file.read_bytes()
    except OSError as error:
        message = f"cannot read the file: {error.strerror or error}"
        return Document(problems=[Problem(str(file), 1, 1, "FIG001", message)])
    return read(raw, str(file), interpolation.expand)


def _no_mapping(file: Path, value: Any) -> Problem:
    message = f"the file must hold a mapping of keys to values, not {show(value)}"
    return Problem(str(file), 1, 1, "FIG003", message)


def _included(draft: _Draft, main: Path) -> Iterator[Path]:
    patterns = draft.data.get("include")
    if not isinstance(patterns, tuple):
        return
    seen: set[Path] = set()
    for i, pattern in enumerate(patterns):
        if isinstance(pattern, str) and f"include[{i}]" not in draft.broken:
            found = _matched(draft, main, pattern, f"include[{i}]")
            yield from (file for file in found if file.resolve() not in seen)
            seen.update(file.resolve() for file in found)


def _matched(draft: _Draft, main: Path, pattern: str, at: str) -> list[Path]:
    if at in draft.interpolated:
        draft.void(Finding(at, "FIG011", "patterns of `include` are taken as written: leave ${...} out"))
        return []
    found = include.matches(main, pattern)
    if not found and include.is_glob(pattern):
        draft.problems.append(draft.problem(Finding(at, "FIG014", f"`{pattern}` matches no file", "warning")))
    elif not found:
        draft.void(Finding(at, "FIG014", f"`{pattern}` is not there: create it, or remove it here"))
    return found


def _merge(draft: _Draft, document: Document, file: Path) -> None:
    if not isinstance(document.value, dict):
        draft.problems.extend(document.problems or [_no_mapping(file, document.value)])
        draft.incomplete = True
        return
    refused = set(_refused(draft, document))
    draft.adopt(document, refused)
    for section in _SECTIONS:
        target = draft.data.setdefault(section, {})
        names = document.value.get(section)
        if isinstance(names, dict) and isinstance(target, dict):
            target.update({name: value for name, value in names.items() if f"{section}.{name}" not in refused})


def _refused(draft: _Draft, document: Document) -> Iterator[str]:
    """The paths of an included file that do not take part; each becomes a problem."""
    for key, value in document.value.items():
        if key not in _SECTIONS:
            yield key
            what = "an included file cannot include others" if key == "include" else f"`{key}` belongs to the main file"
            draft.report(
                document, Finding(key, "FIG013", f"{what}: only `upstreams` and `seams` stand here", at_key=True)
            )
        elif not isinstance(value, dict):
            yield key
            draft.incomplete = True
            draft.report(document, Finding(key, "FIG009", f"`{key}` must be a mapping, not {show(value)}"))
        else:
            yield from _duplicates(draft, document, key)


def _duplicates(draft: _Draft, document: Document, section: str) -> Iterator[str]:
    for name in document.value[section]:
        path = f"{section}.{name}"
        if (first := draft.sites.get(path)) is not None:
            yield path
            message = f"`{path}` stands in two files, first at {first.file}:{first.line}: keep one"
            draft.report(document, Finding(path, "FIG015", message, at_key=True))


def _examine(draft: _Draft, checks: Sequence[Check], order: Callable[[Problem], tuple[Any, ...]]) -> Loaded:
    settings, findings, void = shape(draft.data, draft.broken, draft.interpolated)
    if draft.incomplete:
        void.add("include")
    found = chain(
        validate(settings),
        certificates.check(settings, draft.folder),
        key_files.check(settings, draft.folder),
        door.clear_text(settings.rate_limits, _written(draft, "rate_limits.store")),
    )
    findings += [finding for finding in found if not finding.follows_from(void)]
    findings += _foreign(settings, checks, findings, void)
    reported = dict.fromkeys([*draft.problems, *map(draft.problem, findings)])
    problems = tuple(sorted(reported, key=order))
    named = (*certificates.files(settings, draft.folder), *key_files.files(settings, draft.folder))
    files = tuple(dict.fromkeys([*draft.files, *named]))
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems, files)
    sources = {path: site.source for path, site in draft.sites.items()}
    contents = {file: blake2b(_content(file) or b"").digest() for file in dict.fromkeys(named)}
    settings = _resolved(settings, draft.folder, contents)
    digest = blake2b(settings.model_dump_json().encode() + b"".join(contents.values()), digest_size=6).hexdigest()
    return Loaded(settings, sources, files, problems, digest)


def _written(draft: _Draft, path: str) -> str | None:
    """A value as it stands in the file, where it holds `${...}`."""
    interpolated = draft.interpolated.get(path)
    return None if interpolated is None else interpolated.expression


def _resolved(settings: Settings, folder: Path, contents: Mapping[Path, bytes]) -> Settings:
    scheme, _, path = settings.store.partition(":")
    store = f"sqlite:{(folder / path).absolute()}" if scheme == "sqlite" else "memory:"
    seams = {
        name: seam if seam.legacy is not None else seam.model_copy(update={"legacy": settings.default})
        for name, seam in settings.seams.items()
    }
    settings = settings.model_copy(update={"store": store, "seams": seams})
    return key_files.resolved(certificates.resolved(settings, folder, contents), folder)


def _foreign(
    settings: Settings, checks: Sequence[Check], findings: Sequence[Finding], void: Set[str]
) -> Iterator[Finding]:
    """What the checks from elsewhere find, without what only follows from something that is broken already."""
    unsound = {above for path in void for above in lineage(path)}
    faulty = unsound.union(*(lineage(finding.path) for finding in findings if finding.severity == "error"))
    tainted = [
        (name, i)
        for name, seam in settings.seams.items()
        for i in range(len(seam.routes))
        if (at := f"seams.{name}.routes[{i}]") in faulty or any(path in void for path in lineage(at))
    ]
    for check in checks:
        for path, code, message in check(_without_routes(settings, tainted)):
            finding = Finding(path, code, message)
            if path not in unsound and not finding.follows_from(void):
                yield finding
        for name, i in tainted:
            yield from _alone(settings, check, name, i, void)


def _without_routes(settings: Settings, tainted: Sequence[tuple[str, int]]) -> Settings:
    """Each of these routes gives way to one that nothing else can meet."""
    seams = dict(settings.seams)
    for position, (name, i) in enumerate(tainted):
        stand_in = RouteConfig(path="/", host=f"stand-in-{position}.invalid")
        routes = seams[name].routes
        seams[name] = seams[name].model_copy(update={"routes": (*routes[:i], stand_in, *routes[i + 1 :])})
    return settings.model_copy(update={"seams": seams})


def _alone(settings: Settings, check: Check, name: str, i: int, void: Container[str]) -> Iterator[Finding]:
    """What is wrong with a tainted route by itself."""
    seam = settings.seams[name]
    lone = settings.model_copy(update={"seams": {name: seam.model_copy(update={"routes": (seam.routes[i],)})}})
    prefix = f"seams.{name}.routes"
    for path, code, message in check(lone):
        finding = Finding(path.replace(f"{prefix}[0]", f"{prefix}[{i}]", 1), code, message)
        if path.startswith(prefix) and not finding.follows_from(void):
            yield finding
