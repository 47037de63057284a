"""The way through a query's tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from telemetry.promql import lex
from telemetry.promql.lex import Token, Type


_UNITS_S = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "y": 31536000.0,
}
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_ORDER = ("y", "w", "d", "h", "m", "s", "ms")


@dataclass(slots=True)
class Cursor:
    """Tokens, and how many of them are read."""

    text: str
    tokens: list[Token]
    position: int = 0

    @property
    def next(self) -> Token:
        """The token that is read next."""
        return self.tokens[self.position]

    def after(self) -> Token:
        """Return the token behind the next one."""
        return self.tokens[min(self.position + 1, len(self.tokens) - 1)]

    def take(self) -> Token:
        """Read a token."""
        token = self.next
        if token.type is not Type.END:
            self.position += 1
        return token

    def is_sign(self, *texts: str) -> bool:
        """Return whether one of these signs is next."""
        return self.next.type is Type.SIGN and self.next.text in texts

    def is_word(self, *words: str) -> bool:
        """Return whether one of these words is next, in whatever case."""
        return self.next.type is Type.WORD and self.next.text.lower() in words

    def accept(self, sign: str) -> bool:
        """Read a sign if it is next."""
        if self.is_sign(sign):
            self.take()
            return True
        return False

    def expect(self, sign: str, context: str, expected: str = "") -> Token:
        """
        Read a sign.

        Raises:
            InvalidInput: QUERY_INVALID: Something else stands there.

        """
        if not self.is_sign(sign):
            raise self.unexpected(context, expected or f'"{sign}"')
        return self.take()

    def unexpected(self, context: str = "", expected: str = "") -> Exception:
        """Return the complaint about the next token."""
        message = f"unexpected {self.next.describe()}"
        if context:
            message += f" in {context}"
        if expected:
            message += f", expected {expected}"
        return self.error(self.next.at, message)

    def error(self, at: int, why: str) -> Exception:
        """Return the error of a place in the text."""
        return lex.error(self.text, at, why)

    def number(self) -> float:
        """
        Read a number or a duration, which counts in seconds.

        Raises:
            InvalidInput: QUERY_INVALID: It can't be one.

        """
        token = self.take()
        if token.type is Type.DURATION:
            return self._seconds(token)
        text = token.text.replace("_", "").lower()
        try:
            if text.startswith("0x"):
                return float(int(text, 16))
            if text.isdecimal() and text.startswith("0") and len(text) > 1:
                return _octal(text)
            return float(text)
        except ValueError:
            raise self.error(token.at, f"bad number syntax: {lex.quoted(token.text)}") from None

    def _seconds(self, token: Token) -> float:
        parts = _PART.findall(token.text)
        order = [_ORDER.index(unit) for _, unit in parts]
        if order != sorted(set(order)):
            why = f"not a valid duration string: {lex.quoted(token.text)}"
            raise self.error(token.at, why)
        ms = sum(int(amount) * round(_UNITS_S[unit] * 1000) for amount, unit in parts)
        return ms / 1000


def _octal(text: str) -> float:
    """Return what a number with a leading 0 means: octal where it can be."""
    return float(int(text, 8)) if not set(text) & {"8", "9"} else float(text)
