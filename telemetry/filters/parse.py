"""
The text of a filter, read. Pure.

    filter     = [ "{" [ comparison { "," comparison } ] "}" ] { stage }
    stage      = ( "|=" | "!=" | "|~" | "!~" ) string  |  "|" either
    either     = both { "or" both }
    both       = term { ( "and" | "," ) term }
    term       = "(" either ")"  |  comparison
    comparison = key ( "=" | "!=" | "=~" | "!~" | ">" | ">=" | "<" | "<=" ) value
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import re2

from meshkit.errors import InvalidInput
from telemetry.filters.fields import Type
from telemetry.filters.model import Comparison, Every, Line, LineOp, Op, Some


if TYPE_CHECKING:
    from telemetry.filters.fields import Field, Vocabulary
    from telemetry.filters.model import Filter

FILTER_BYTES_MAX = 4_096
COMPARISONS_MAX = 64
DEPTH_MAX = 16
REGEX_BYTES_MAX = 1_024

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*" | `[^`]*`)
  | (?P<op>\|=|\|~|!=|!~|=~|>=|<=|[=<>|{}(),])
  | (?P<word>[^\s"`|!=~<>{}(),]+)
  | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_ORDER = frozenset({Op.GREATER, Op.GREATER_EQUAL, Op.LESS, Op.LESS_EQUAL})
_MATCHING = frozenset({Op.REGEX, Op.NOT_REGEX})


def parse(text: str, vocabulary: Vocabulary) -> Filter:
    """
    Return what *text* says; of an empty one, a filter that lets all through.

    Raises:
        InvalidInput: FILTER_INVALID: It can't be read, is too large, or compares what has
            no such value; `position` says where.

    """
    if len(text.encode()) > FILTER_BYTES_MAX:
        _invalid(f"it is longer than {FILTER_BYTES_MAX} bytes", FILTER_BYTES_MAX)
    return _Parser(text, vocabulary).parse()


class _Parser:
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._text = text
        self._vocabulary = vocabulary
        self._after = 0
        self._comparisons = 0
        self._next()

    def _next(self) -> None:
        found = _TOKEN.match(self._text, self._after)
        if found is None:
            rest = self._text[self._after :]
            at = self._after + len(rest) - len(rest.lstrip())
            _invalid("a text has no end, or this is no part of a filter", at)
        self._kind = found.lastgroup or ""
        self._lexeme = found.group(self._kind)
        self._start, self._after = found.start(self._kind), found.end()

    def parse(self) -> Filter:
        parts: list[Filter] = []
        if self._took("{"):
            while self._lexeme != "}" or self._kind != "op":
                parts.append(self._comparison())
                if not self._took(","):
                    break
            self._expect("}")
        while self._kind != "end":
            parts.append(self._stage())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _stage(self) -> Filter:
        if self._took("|"):
            return self._either(0)
        if self._kind != "op" or self._lexeme not in set(LineOp):
            self._fail('"|", "|=", "!=", "|~" or "!~" is expected')
        op = LineOp(self._lexeme)
        if not self._vocabulary.body:
            self._fail("spans have no body to search")
        self._next()
        if self._kind != "string":
            self._fail("a text in quotes is expected")
        start, text = self._start, self._string()
        if op in {LineOp.MATCHES, LineOp.MATCHES_NOT}:
            _check_regex(text, start)
        self._count()
        return Line(op, text)

    def _either(self, depth: int) -> Filter:
        parts = [self._both(depth)]
        while self._took("or", "word"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _both(self, depth: int) -> Filter:
        parts = [self._term(depth)]
        while self._took("and", "word") or self._took(","):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _term(self, depth: int) -> Filter:
        if not self._took("("):
            return self._comparison()
        if depth == DEPTH_MAX:
            self._fail(f"parentheses stand more than {DEPTH_MAX} deep")
        inner = self._either(depth + 1)
        self._expect(")")
        return inner

    def _comparison(self) -> Comparison:
        if self._kind not in {"word", "string"}:
            self._fail("a name is expected")
        key = self._string() if self._kind == "string" else self._word()
        if not key:
            self._fail("a name is expected")
        if self._kind != "op" or self._lexeme not in set(Op):
            self._fail("a comparison is expected, such as = or >=")
        op = Op(self._lexeme)
        self._next()
        if self._kind not in {"word", "string"}:
            self._fail("a value is expected")
        start, quoted = self._start, self._kind == "string"
        text = self._string() if quoted else self._word()
        self._count()
        if op in _MATCHING:
            _check_regex(text, start)
        known = self._vocabulary.fields.get(key)
        if known is not None and known.type is not Type.TEXT:
            return Comparison(key, op, _number_of(known, key, op, text, start))
        if op in _ORDER and (quoted or not _NUMBER.fullmatch(text)):
            _invalid("only numbers have an order", start)
        of_number = known is None and not quoted and op not in _MATCHING
        if op in _ORDER or (of_number and _NUMBER.fullmatch(text)):
            return Comparison(key, op, float(text))
        return Comparison(key, op, text)

    def _word(self) -> str:
        word = self._lexeme
        self._next()
        return word

    def _string(self) -> str:
        token = self._lexeme
        self._next()
        if token[0] == "`":
            return token[1:-1]
        return re.sub(
            r"\\(.)",
            lambda found: _ESCAPES.get(found.group(1), found.group(1)),
            token[1:-1],
            flags=re.DOTALL,
        )

    def _took(self, token: str, kind: str = "op") -> bool:
        if self._kind != kind or self._lexeme != token:
            return False
        self._next()
        return True

    def _expect(self, token: str) -> None:
        if not self._took(token):
            self._fail(f'"{token}" is expected')

    def _count(self) -> None:
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            self._fail(f"it compares more than {COMPARISONS_MAX} things")

    def _fail(self, why: str) -> NoReturn:
        _invalid(why, self._start)


def _number_of(known: Field, key: str, op: Op, text: str, at: int) -> float:
    """Return the number that *text* stands for in a field of numbers."""
    if op in _MATCHING:
        _invalid(f"{key} is no text", at)
    if known.type is Type.DURATION:
        if not _DURATION.fullmatch(text):
            _invalid(f"{key} is compared with a length of time, such as 250ms", at)
        return sum(float(number) * _UNITS_NS[unit] for number, unit in _PART.findall(text))
    if text.lower() in known.words:
        return float(known.words[text.lower()])
    if not _NUMBER.fullmatch(text):
        _invalid(f"{key} is compared with a number or one of {', '.join(known.words)}", at)
    return float(text)


def _check_regex(pattern: str, at: int) -> None:
    if len(pattern.encode()) > REGEX_BYTES_MAX:
        _invalid(f"a regular expression is longer than {REGEX_BYTES_MAX} bytes", at)
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        _invalid("this regular expression is not valid RE2", at)


def _invalid(why: str, position: int) -> NoReturn:
    raise InvalidInput(
        "FILTER_INVALID",
        f"The filter can't be read at {position}: {why}.",
        field_violations={"filter": f"at {position}: {why}"},
        position=str(position),
    )
