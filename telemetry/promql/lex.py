"""A query's text to tokens, each with its place."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from telemetry.promql.errors import bad_query


class Type(enum.Enum):
    """Kind of a token, by what Prometheus calls it in complaints."""

    WORD = "identifier"
    NUMBER = "number"
    DURATION = "duration"
    STRING = "string"
    SIGN = ""
    """Operators and brackets: they are named by themselves."""

    END = "end of input"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text."""

    type: Type
    text: str
    at: int
    """Where it begins, in characters."""

    def describe(self) -> str:
        """Return how to name it in a complaint."""
        if self.type is Type.END:
            return str(self.type.value)
        if self.type is Type.SIGN:
            return f'"{self.text}"'
        if self.text.lower() in KEYWORDS:
            return f"<{self.text.lower()}>"
        return f"{self.type.value} {quoted(self.text)}"


AGGREGATORS = frozenset(
    [
        "avg",
        "bottomk",
        "count",
        "count_values",
        "group",
        "limit_ratio",
        "limitk",
        "max",
        "min",
        "quantile",
        "stddev",
        "stdvar",
        "sum",
        "topk",
    ]
)
WITH_PARAMETER = frozenset(["bottomk", "count_values", "limit_ratio", "limitk", "quantile", "topk"])
KEYWORDS = AGGREGATORS | frozenset(
    [
        "and",
        "or",
        "unless",
        "atan2",
        "offset",
        "smoothed",
        "anchored",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "fill",
        "fill_left",
        "fill_right",
        "bool",
        "start",
        "end",
        "step",
        "range",
        "max_of",
        "min_of",
    ]
)

_BLANK = re.compile(r"(?:\s|#[^\n]*)+")
_NUMBER = re.compile(r"0[xX]_?[0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[smhdwy]))+(?![a-zA-Z0-9_])")
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_WORD_IN_BRACKETS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`", re.DOTALL)
_SIGN = re.compile(r"=~|!~|==|!=|<=|>=|</|>/|[-+*/%^<>=@(){}\[\],:]")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}
_NAMES = {"(": "parenthesis", "[": "bracket", "{": "brace"}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))",
    re.DOTALL,
)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def tokens(text: str) -> list[Token]:
    """
    Return the tokens of *text*, the end as the last.

    Raises:
        InvalidInput: QUERY_INVALID: A character that begins nothing, or a bracket without
            its other half.

    """
    found: list[Token] = []
    open_: list[Token] = []
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank:
            at = blank.end()
            continue
        token = _token(text, at, open_[-1].text if open_ else "")
        if token.type is Type.SIGN:
            _track(text, token, open_)
        found.append(token)
        at += len(token.text)
    if open_:
        name = _NAMES[open_[-1].text]
        raise error(text, len(text), f"unclosed left {name}")
    return [*found, Token(Type.END, "", len(text))]


def _token(text: str, at: int, within: str) -> Token:
    char = text[at]
    if char in "\"'`":
        string = _STRING.match(text, at)
        if not string:
            kind = "raw" if char == "`" else "quoted"
            raise error(text, at, f"unterminated {kind} string")
        return Token(Type.STRING, string[0], at)
    if char.isdecimal() or (char == "." and text[at + 1 : at + 2].isdecimal()):
        return _number(text, at)
    # A colon is part of names, but within brackets it parts a subquery's range from its step.
    word = (_WORD if within in ("", "(") else _WORD_IN_BRACKETS).match(text, at)
    if word:
        number = word[0].lower() in ("inf", "nan") and within != "{"
        return Token(Type.NUMBER if number else Type.WORD, word[0], at)
    sign = _SIGN.match(text, at)
    if not sign:
        inside = " inside braces" if within == "{" else ""
        raise error(text, at, f"unexpected character{inside}: {_quoted_char(char)}")
    return Token(Type.SIGN, sign[0], at)


def _number(text: str, at: int) -> Token:
    duration = _DURATION.match(text, at)
    if duration:
        return Token(Type.DURATION, duration[0], at)
    number = _NUMBER.match(text, at)
    if number:
        after = text[number.end() : number.end() + 1]
        if not (after.isalnum() or after in ("_", ".")) or not after:
            return Token(Type.NUMBER, number[0], at)
    wrong = re.compile(r"[\w.]+").match(text, at)
    bad = wrong[0] if wrong else text[at]
    raise error(text, at, f"bad number or duration syntax: {quoted(bad)}")


def _track(text: str, token: Token, open_: list[Token]) -> None:
    if token.text in _CLOSING:
        open_.append(token)
    elif token.text in _OPENING:
        if not open_ or open_[-1].text != _OPENING[token.text]:
            name = _NAMES[_OPENING[token.text]]
            raise error(text, token.at, f"unexpected right {name} '{token.text}'")
        open_.pop()


def place(text: str, at: int) -> str:
    """Return a place as `line:column`, both from 1."""
    line = text.count("\n", 0, at)
    begins = text.rfind("\n", 0, at) + 1
    return f"{line + 1}:{at - begins + 1}"


def error(text: str, at: int, why: str) -> Exception:
    """Return the error of a text that is wrong at a place."""
    where = place(text, at)
    return bad_query(f"{where}: parse error: {why}", position=where)


def unquoted(text: str, token: Token) -> str:
    r"""
    Return the string that a literal means.

    Bytes that are no UTF-8 (`"\xff"`) become surrogates, as `surrogateescape` has them.

    Raises:
        InvalidInput: QUERY_INVALID: There is no such escape.

    """
    body = token.text[1:-1]
    if token.text[0] == "`":
        return body

    def one(found: re.Match[str]) -> bytes:
        simple, hexadecimal, octal, short, long, other = found.groups()
        if simple:
            return _ESCAPED.get(simple, simple).encode()
        if hexadecimal or octal:
            byte = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
            if byte < 256:
                return bytes([byte])
        code = int(short or long or "110000", 16)
        if code < 0x110000 and not 0xD800 <= code < 0xE000:
            return chr(code).encode()
        del other
        raise error(text, token.at, f"unknown escape sequence in {quoted(found[0])}")

    out = b""
    done = 0
    for found in _ESCAPE.finditer(body):
        out += body[done : found.start()].encode("utf-8", "surrogateescape") + one(found)
        done = found.end()
    out += body[done:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


def is_valid(text: str) -> bool:
    """Return whether a string is UTF-8, as labels and their names must be."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def quoted(text: str) -> str:
    """Return *text* as a literal."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isprintable():
        return char
    names = {value: name for name, value in _ESCAPED.items()}
    if char in names:
        return "\\" + names[char]
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x80
        else f"\\u{code:04x}"
        if code < 1 << 16
        else f"\\U{code:08x}"
    )


def _quoted_char(char: str) -> str:
    return "'" + (_escaped(char) if char not in "'\"" else char.replace("'", "\\'")) + "'"
