"""The words of Go's templates."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.rules.template.values import TemplateError


if TYPE_CHECKING:
    from collections.abc import Iterator

_ACTION = re.compile(
    r"\{\{(?P<left>-\s)?\s*(?:/\*.*?\*/\s*|(?P<code>(?:\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|[^\"`])*?))"
    r"(?P<right>\s-)?\}\}",
    re.DOTALL,
)
_WORD = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\\n]|\\.)*") | (?P<raw>`[^`]*`) | (?P<char>'(?:[^'\\]|\\.)')
      | (?P<number>[-+]?(?:0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))
      | (?P<chain>(?:\$[A-Za-z0-9_]*|\.[A-Za-z_])(?:[A-Za-z0-9_]|\.(?=[A-Za-z_]))*)
      | (?P<dot>\.)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>:=|[=|(),])
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Text:
    """What stands outside of braces."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """What stands within them, in words."""

    words: list[Word]


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its kind, as the pattern names it, and its value."""

    kind: str
    value: str
    spaced: bool
    """Whether there is space before it: `(f).X` is a field, `(f) .X` two arguments."""


def split(source: str) -> Iterator[Text | Code]:
    """
    Yield texts and actions; `{{-` and `-}}` take the white space beside them.

    Raises:
        TemplateError: Braces don't match, or hold what is no word.

    """
    at, trim = 0, False
    while True:
        found = _ACTION.search(source, at)
        text = source[at : found.start() if found else len(source)]
        if "{{" in text:
            raise TemplateError("unclosed action")
        if trim:
            text = text.lstrip()
        if found is not None and found["left"]:
            text = text.rstrip()
        if text:
            yield Text(text)
        if found is None:
            return
        if found["code"] is not None:
            yield Code(list(_words(found["code"])))
        at, trim = found.end(), found["right"] is not None


def _words(code: str) -> Iterator[Word]:
    at = 0
    code = code.rstrip()
    while at < len(code):
        found = _WORD.match(code, at)
        if found is None or found.lastgroup is None:
            raise TemplateError(f"unexpected {code[at:].strip()[:20]!r}")
        value = found[found.lastgroup]
        spaced = found.start(found.lastgroup) > at
        yield Word(found.lastgroup, value, spaced)
        at = found.end()


def string_value(word: Word) -> str:
    """
    Return the text that a string's word means.

    Raises:
        TemplateError: Its escapes are none of Go's.

    """
    if word.kind == "raw":
        return word.value[1:-1]
    try:
        text: str = json.loads(word.value.replace("\\'", "'"), strict=False)
    except ValueError:
        raise TemplateError(f"bad string {word.value}") from None
    return text
