"""`${...}` in the values of a configuration file. Knows the environment and secret files, nothing of YAML.

    ${NAME}             the variable, which must be set
    ${NAME:-default}    the default where it is unset or empty
    ${NAME:?message}    a problem with that message where it is unset or empty
    ${file:PATH}        the file's text without one trailing newline
    $${                 a literal ${

Expressions do not nest, and an expanded text is not expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_SECRET_BYTES = 65536

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_SURROGATE = re.compile("[\ud800-\udfff]")  # how Python shows bytes of the environment that are not UTF-8
_BODY = re.compile(r"(?:(file):(.+)|([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?)", re.ASCII | re.DOTALL)


class ExpansionError(Exception):
    """Why an expression has no value. `code` is that of the problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Expansion:
    """`whole`: the text was one expression and nothing else. `errors` are (code, message); with any, `text` is void."""

    text: str
    whole: bool
    errors: tuple[tuple[str, str], ...]


class Interpolation:
    """Expands the texts of files in one folder; `files` collects every secret file that was asked for."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self.files: list[Path] = []

    def expand(self, text: str) -> Expansion:
        errors: list[tuple[str, str]] = []

        def value(token: re.Match[str]) -> str:
            try:
                return self._value(token)
            except ExpansionError as error:
                errors.append((error.code, str(error)))
                return ""

        whole = _TOKEN.fullmatch(text)
        expanded = _TOKEN.sub(value, text)
        return Expansion(expanded, whole is not None and whole[1] is not None, tuple(errors))

    def _value(self, token: re.Match[str]) -> str:
        if token[0] == "$${":
            return "${"
        body = _BODY.fullmatch(token[1] or "")
        if body is None:
            shown = token[0] if token[1] is not None else token.string[token.start() :][:40]
            cure = "write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:PATH}, and $${ for a literal ${"
            raise ExpansionError("FIG011", f"`{shown}` is not an expression: {cure}")
        return self._secret(body[2]) if body[1] else self._variable(body[3], body[4], body[5])

    def _variable(self, name: str, operator: str | None, operand: str | None) -> str:
        value = self._environ.get(name)
        if value is None and operator is None:
            cure = f"set it, or write ${{{name}:-default}}"
            raise ExpansionError("FIG011", f"environment variable {name} is not set: {cure}")
        if value is not None and not value.isascii() and _SURROGATE.search(value):
            raise ExpansionError("FIG011", f"environment variable {name} is not UTF-8: mend it")
        if operator == ":?" and not value:
            raise ExpansionError("FIG011", f"environment variable {name} is not set: {operand or 'it is required'}")
        return value or (operand or "" if operator == ":-" else "")

    def _secret(self, name: str) -> str:
        path = self._folder / name
        self.files.append(path)
        try:
            text = _read_regular(path).decode("utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else _reason(error)
            raise ExpansionError("FIG012", f"cannot read {path} for ${{file:{name}}}: {reason}") from None
        return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _read_regular(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise OSError(0, "not a regular file")
    with path.open("rb") as file:
        content = file.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise OSError(0, f"longer than {MAX_SECRET_BYTES} bytes")
    return content


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
