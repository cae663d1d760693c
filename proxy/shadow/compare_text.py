"""Two texts: plain by line, HTML and XML by token. Knows rules, no media type and no header.

All differences are at the path `body`. Where both sides have the same form, each is entered with its place in it (a
line, an attribute, a text), so that what the control itself changes there from answer to answer can be forgiven.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from proxy.shadow.difference import MISSING, Found
from proxy.shadow.markup import NoMarkup, Token, TooMuchMarkup, html_tokens, xml_tokens
from proxy.shadow.rules import Rules

_MOST_PLACES: Final = 1000


def compare_text(control: str, candidate: str, rules: Rules, found: Found) -> None:
    """Exactly, but for the line ends where `text: {newlines: normalize}`."""
    one, other = rules.rewritten(control), rules.rewritten(candidate)
    if rules.normal_newlines:
        one, other = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (one, other))
    if one != other:
        _enter_lines("text", one, other, found)


def compare_html(control: str, candidate: str, rules: Rules, found: Found) -> None:
    for pattern in rules.html_ignore:
        control, candidate = pattern.sub("", control), pattern.sub("", candidate)
    if not rules.html_tokens:
        one, other = rules.rewritten(control), rules.rewritten(candidate)
        if one != other:
            _enter_lines("html", one, other, found)
    elif control != candidate:
        _compare_tokens("html", html_tokens, control, candidate, rules, found)


def compare_xml(control: str, candidate: str, rules: Rules, found: Found) -> None:
    if control != candidate:
        _compare_tokens("xml", xml_tokens, control, candidate, rules, found)


def _compare_tokens(
    kind: str, read: Callable[[str], list[Token]], control: str, candidate: str, rules: Rules, found: Found
) -> None:
    one, other = _read(read, control), _read(read, candidate)
    if isinstance(one, list) and isinstance(other, list):
        if rules.rewrites:
            one, other = _rewritten(one, rules), _rewritten(other, rules)
        if one != other:
            _enter_tokens(kind, one, other, found)
    elif NoMarkup in (one, other) and one != other and TooMuchMarkup not in (one, other):
        found.add("body", "unparseable", control, candidate)
    elif (text := rules.rewritten(control)) != (changed := rules.rewritten(candidate)):
        _enter_lines(kind, text, changed, found)


def _read(read: Callable[[str], list[Token]], text: str) -> list[Token] | type[NoMarkup] | type[TooMuchMarkup]:
    try:
        return read(text)
    except NoMarkup:
        return NoMarkup
    except TooMuchMarkup:
        return TooMuchMarkup


def _rewritten(tokens: list[Token], rules: Rules) -> list[Token]:
    return [
        Token(token.kind, token.name, tuple((name, rules.rewritten(value)) for name, value in token.values))
        for token in tokens
    ]


def _enter_tokens(kind: str, one: Sequence[Token], other: Sequence[Token], found: Found) -> None:
    places: list[tuple[str, str, str]] = []
    if len(one) == len(other):
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            if left == right:
                continue
            if _form(left) != _form(right) or len(places) > _MOST_PLACES:
                places = []
                break
            places += (
                (f"#{i}@{name}", before, after)
                for (name, before), (_, after) in zip(left.values, right.values, strict=True)
                if before != after
            )
    for place, before, after in places:
        found.add("body", kind, before, after, place)
    if not places:
        _enter_whole(kind, [_shown(token) for token in one], [_shown(token) for token in other], found)


def _form(token: Token) -> tuple[str, str, tuple[str, ...]]:
    return token.kind, token.name, tuple(name for name, _ in token.values)


def _shown(token: Token) -> str:
    if token.kind == "text":
        return token.values[0][1]
    attributes = "".join(f' {name}="{value}"' for name, value in token.values)
    return f"<{'/' if token.kind == 'close' else ''}{token.name}{attributes}>"


def _enter_lines(kind: str, one: str, other: str, found: Found) -> None:
    left, right = one.split("\n"), other.split("\n")
    if len(left) == len(right):
        places = [i for i, (before, after) in enumerate(zip(left, right, strict=True)) if before != after]
        if len(places) <= _MOST_PLACES:
            for i in places:
                found.add("body", kind, left[i], right[i], f"#{i}")
            return
    _enter_whole(kind, left, right, found)


def _enter_whole(kind: str, left: list[str], right: list[str], found: Found) -> None:
    """The form differs: one difference that is never forgiven, shown from where they part."""
    shorter = min(len(left), len(right))
    at = next((i for i in range(shorter) if left[i] != right[i]), shorter)
    found.add("body", kind, _window(left, at), _window(right, at), structural=True)


def _window(pieces: list[str], at: int) -> str | object:
    return "\n".join(pieces[at : at + 5])[:2000] if at < len(pieces) else MISSING
