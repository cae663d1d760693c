"""HTML and XML as token streams in which only what a reader cannot see is gone. Knows no rule and compares nothing.

HTML is cut by an own tokenizer: it takes any input, drops nothing but comments, quotes, the order of attributes and
white space that does not show, and takes linear time, which `html.parser` does not for unclosed markup. XML goes
through expat with namespaces; a document type with declarations is refused before any entity is defined.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

MOST_TOKENS: Final = 50_000
_XML_DEPTH: Final = 256


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: open, close, text, or declaration. `values`: attribute values by name, sorted; of a text the text itself
    under the name ""."""

    kind: str
    name: str
    values: tuple[tuple[str, str], ...] = ()


class NoMarkup(Exception):
    """Not well-formed."""


class TooMuchMarkup(Exception):
    """More tokens or levels than are looked at, or a document type that declares something."""


_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
_ATTRIBUTE: Final = re.compile(r"([^\s\"'>/=]+)(?:\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'>]+))?|(\S)")
_SPACES: Final = re.compile(r"[ \t\n\r\f]+")
_RAW: Final = frozenset(("script", "style", "xmp", "iframe", "noembed", "noframes"))
_VERBATIM: Final = frozenset(("pre", "textarea", "listing"))
_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)


def html_tokens(source: str) -> list[Token]:
    """Raises TooMuchMarkup."""
    return _Html(source.replace("\r\n", "\n")).tokens()


class _Html:
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Token] = []
        self.text: list[str] = []
        self.verbatim = 0

    def tokens(self) -> list[Token]:
        source, at = self.source, 0
        while at < len(source):
            opening = source.find("<", at)
            if opening < 0:
                opening = len(source)
            self.text.append(source[at:opening])
            at = self._markup(opening) if opening < len(source) else opening
            if len(self.found) > MOST_TOKENS:
                raise TooMuchMarkup
        self._flush()
        return self.found

    def _markup(self, at: int) -> int:
        """What begins with `<` at `at`; gives where it ends."""
        source = self.source
        if source.startswith("<!--", at):
            end = source.find("-->", at + 4)
            return end + 3 if end >= 0 else self._rest(at)
        if source.startswith(("<!", "<?"), at):
            end = source.find(">", at)
            if end < 0:
                return self._rest(at)
            self._flush()
            self.found.append(Token("declaration", " ".join(source[at + 1 : end].lower().split())))
            return end + 1
        if not source[at + 1 : at + 2].isalpha() and source[at + 1 : at + 2] != "/":
            self.text.append("<")
            return at + 1
        match = _TAG.match(source, at)
        if match is not None:
            return self._tag(match)
        if source.startswith("</", at) and not source[at + 2 : at + 3].isalpha():
            self.text.append("<")
            return at + 1
        return self._rest(at)

    def _rest(self, at: int) -> int:
        """Markup without an end: the rest of the document as it stands, so that no byte of it is looked at again."""
        self._flush()
        self.found.append(Token("text", "", (("", self.source[at:]),)))
        return len(self.source)

    def _tag(self, match: re.Match[str]) -> int:
        self._flush()
        name = match[2].lower()
        if match[1]:
            self.verbatim -= name in _VERBATIM and self.verbatim > 0
            self.found.append(Token("close", name))
            return match.end()
        attributes = [
            (junk or key.lower(), _unescaped(value[1:-1] if value.startswith(('"', "'")) else value))
            for key, value, junk in _ATTRIBUTE.findall(match[3])
            if junk != "/"
        ]
        if match[3].endswith("/") and name not in _VOID:
            attributes.append(("/", ""))
        self.found.append(Token("open", name, tuple(sorted(attributes))))
        self.verbatim += name in _VERBATIM
        return self._raw_text(name, match.end()) if name in _RAW else match.end()

    def _raw_text(self, name: str, at: int) -> int:
        end = re.compile(rf"</{name}[\s/>]", re.IGNORECASE).search(self.source, at)
        if end is None:
            return self._rest(at)
        if end.start() > at:
            self.found.append(Token("text", "", (("", self.source[at : end.start()]),)))
        return end.start()

    def _flush(self) -> None:
        """What text there was since the last tag, as it shows."""
        text = _unescaped_text("".join(self.text), bool(self.verbatim))
        self.text = []
        if text:
            self.found.append(Token("text", "", (("", text),)))


def _unescaped_text(text: str, verbatim: bool) -> str:
    if verbatim:
        return _unescaped(text)
    if not text.strip(" \t\n\r\f"):
        return "" if "\n" in text or "\r" in text or not text else " "
    return _unescaped(_SPACES.sub(" ", text))


def _unescaped(text: str) -> str:
    if "&" not in text:
        return text
    try:
        return html.unescape(text)
    except ValueError:  # a numeric reference of more digits than int() takes
        return text


def xml_tokens(source: str) -> list[Token]:
    """As in Canonical XML 2.0: comments and unused namespaces gone, references and CDATA resolved, attributes sorted.
    Raises NoMarkup, TooMuchMarkup."""
    reader = _Xml()
    try:
        reader.parser.Parse(source.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise NoMarkup(str(error)) from error
    reader.flush()
    return reader.found


class _Xml:
    def __init__(self) -> None:
        self.found: list[Token] = []
        self.depth = 0
        self.text: list[str] = []
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._open
        parser.EndElementHandler = self._close
        parser.CharacterDataHandler = self.text.append
        parser.ProcessingInstructionHandler = self._instruction
        parser.StartDoctypeDeclHandler = self._document_type

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        self.flush()
        self.depth += 1
        if self.depth > _XML_DEPTH:
            raise TooMuchMarkup
        self._add(Token("open", name, tuple(sorted(attributes.items()))))

    def _close(self, name: str) -> None:
        self.flush()
        self.depth -= 1
        self._add(Token("close", name))

    def _instruction(self, target: str, data: str) -> None:
        self.flush()
        self._add(Token("declaration", f"?{target} {data}"))

    def _document_type(self, name: str, system: str | None, public: str | None, declares: bool) -> None:
        if declares:
            raise TooMuchMarkup
        self._add(Token("declaration", f"doctype {name} {system or ''} {public or ''}"))

    def flush(self) -> None:
        if self.text:
            self._add(Token("text", "", (("", "".join(self.text)),)))
            self.text.clear()

    def _add(self, token: Token) -> None:
        self.found.append(token)
        if len(self.found) > MOST_TOKENS:
            raise TooMuchMarkup
