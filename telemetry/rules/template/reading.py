"""A template's text to a tree."""

from __future__ import annotations

from dataclasses import dataclass

from telemetry.rules.template.lexing import Code, Text, Word, split, string_value
from telemetry.rules.template.values import TemplateError


DEPTH_MAX = 50
"""Blocks and brackets within one another."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: object


@dataclass(frozen=True, slots=True)
class Path:
    """`.Labels.job` or `$labels.job`."""

    start: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inner:
    """A pipeline in brackets, and a field of what it gives."""

    pipe: Pipe
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Operand, ...]


Operand = Literal | Path | Inner | Call


@dataclass(frozen=True, slots=True)
class Pipe:
    names: tuple[str, ...]
    """Variables that it sets."""

    declares: bool
    commands: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `with` or `range`."""

    kind: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Pipe | Block


class Reader:
    """Reads one template."""

    def __init__(self, source: str) -> None:
        self._parts = list(split(source))
        self._at = 0

    def all(self) -> tuple[Node, ...]:
        """
        Return the whole tree.

        Raises:
            TemplateError: The text is none.

        """
        nodes, end = self._until_end(0)
        if end:
            raise TemplateError(f"unexpected {{{{{end}}}}}")
        return nodes

    def _until_end(self, depth: int) -> tuple[tuple[Node, ...], str]:
        """Return the nodes up to `end` or `else`, and which of them it was."""
        if depth > DEPTH_MAX:
            raise TemplateError("nests too deep")
        nodes: list[Node] = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            self._at += 1
            if isinstance(part, Text):
                nodes.append(part)
                continue
            first = part.words[0] if part.words else None
            if first is None:
                raise TemplateError("missing value for command")
            if first.kind == "name" and first.value in {"if", "with", "range"}:
                nodes.append(self._block(first.value, part.words[1:], depth))
            elif first.kind == "name" and first.value in {"end", "else"}:
                if first.value == "else" and len(part.words) > 1:
                    # `else if` is an `if` of its own within the `else`.
                    self._parts.insert(self._at, Code(part.words[1:]))
                    return tuple(nodes), "else if"
                return tuple(nodes), first.value
            elif first.kind == "name" and first.value in {"define", "template", "block"}:
                raise TemplateError(f"{first.value} is not supported")
            else:
                nodes.append(_Words(part.words).pipe())
        return tuple(nodes), ""

    def _block(self, kind: str, words: list[Word], depth: int) -> Block:
        pipe = _Words(words).pipe()
        body, end = self._until_end(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if end == "else":
            otherwise, end = self._until_end(depth + 1)
        elif end == "else if":
            part = self._parts[self._at]
            assert isinstance(part, Code), "it has just been put there"
            self._at += 1
            inner = part.words[0].value
            if inner not in {"if", "with"}:
                raise TemplateError(f"unexpected {inner!r} after else")
            otherwise, end = (self._block(inner, part.words[1:], depth + 1),), "end"
        if end != "end":
            raise TemplateError(f"{kind} without end")
        return Block(kind, pipe, body, otherwise)


@dataclass(slots=True)
class _Words:
    words: list[Word]
    at: int = 0

    def pipe(self, depth: int = 0) -> Pipe:
        names: list[str] = []
        declares = False
        signs = [word.value for word in self.words[self.at : self.at + 4]]
        for sign in (":=", "="):
            if sign in signs and self._is_name(self.at):
                count = signs.index(sign)
                names = [word for word in signs[:count] if word != ","]
                declares = sign == ":="
                self.at += count + 1
                break
        commands = [self._command(depth)]
        while self._sign("|"):
            commands.append(self._command(depth))
        if depth == 0 and self.at < len(self.words):
            raise TemplateError(f"unexpected {self.words[self.at].value!r}")
        return Pipe(tuple(names), declares, tuple(commands))

    def _command(self, depth: int) -> Call:
        operands: list[Operand] = []
        while self.at < len(self.words) and self.words[self.at].value not in {"|", ")"}:
            operands.append(self._operand(depth))
        if not operands:
            raise TemplateError("missing value for command")
        first = operands[0]
        if isinstance(first, Call):
            return Call(first.name, tuple(operands[1:]))
        if len(operands) > 1:
            raise TemplateError("a value can't be given arguments")
        return Call("", (first,))

    def _operand(self, depth: int) -> Operand:
        word = self.words[self.at]
        self.at += 1
        match word.kind:
            case "string" | "raw":
                return Literal(string_value(word))
            case "char":
                return Literal(ord(word.value[1:-1][-1]))
            case "number":
                return Literal(_number(word.value))
            case "dot":
                return Path(".", ())
            case "chain":
                start, *fields = word.value.split(".")
                return Path(start or ".", tuple(fields))
            case "name":
                if word.value in _CONSTANTS:
                    return Literal(_CONSTANTS[word.value])
                return Call(word.value, ())
        if word.value != "(":
            raise TemplateError(f"unexpected {word.value!r}")
        if depth > DEPTH_MAX:
            raise TemplateError("nests too deep")
        pipe = self.pipe(depth + 1)
        if not self._sign(")"):
            raise TemplateError("unclosed bracket")
        return Inner(pipe, self._fields())

    def _fields(self) -> tuple[str, ...]:
        """Return the fields that follow a bracket at once."""
        word = self.words[self.at] if self.at < len(self.words) else None
        if word is None or word.kind != "chain" or word.spaced or word.value[0] != ".":
            return ()
        self.at += 1
        return tuple(word.value[1:].split("."))

    def _sign(self, sign: str) -> bool:
        here = self.at < len(self.words) and self.words[self.at].value == sign
        here = here and self.words[self.at].kind == "sign" if sign != "|" else here
        self.at += here
        return here

    def _is_name(self, at: int) -> bool:
        return self.words[at].kind == "chain" and self.words[at].value.startswith("$")


_CONSTANTS: dict[str, object] = {"true": True, "false": False, "nil": None}


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise TemplateError(f"bad number {text}") from None
