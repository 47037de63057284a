"""Templates in Go's language: read once, run as often as need be, each run with bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telemetry.rules.template.lexing import Text
from telemetry.rules.template.reading import Block, Call, Inner, Literal, Path, Pipe, Reader
from telemetry.rules.template.values import TemplateError, is_true, text_of


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from telemetry.rules.template.reading import Node, Operand

    Function = Callable[..., object]

__all__ = ["STEPS_MAX", "TEXT_CHARS_MAX", "Template", "TemplateError"]

STEPS_MAX = 10_000
"""Nodes that one run may visit."""

TEXT_CHARS_MAX = 65_536
"""Characters that one run may write."""


class Template:
    """
    A template's text, read.

    Raises:
        TemplateError: The text can't be read.

    """

    def __init__(self, source: str) -> None:
        self.is_constant = "{{" not in source
        self._source = source
        self._nodes: tuple[Node, ...] = () if self.is_constant else Reader(source).all()

    def run(self, variables: Mapping[str, object], functions: Mapping[str, Function]) -> str:
        """
        Return the text that it makes.

        Args:
            variables: By their names with `$`; `$` itself is what `.` means at first.

        Raises:
            TemplateError: It can't be run, or does not end in `STEPS_MAX` steps.

        """
        if self.is_constant:
            return self._source
        run = _Run(functions, dict(variables))
        try:
            run.nodes(self._nodes, variables.get("$"))
        except RecursionError:
            raise TemplateError("nests too deep") from None
        return "".join(run.out)


@dataclass(slots=True)
class _Run:
    functions: Mapping[str, Function]
    variables: dict[str, object]
    out: list[str] = field(default_factory=list)
    steps: int = 0
    chars: int = 0
    declared: set[str] = field(default_factory=set)
    """Variables that the innermost block has declared."""

    def nodes(self, nodes: Sequence[Node], dot: object) -> None:
        for node in nodes:
            self._step()
            match node:
                case Text():
                    self._write(node.text)
                case Pipe():
                    value = self._pipe(node, dot)
                    if not node.names:
                        self._write(text_of(value))
                case Block():
                    self._block(node, dot)

    def _block(self, block: Block, dot: object) -> None:
        outer, outer_declared = dict(self.variables), self.declared
        self.declared = set()
        value = self._pipe(block.pipe, dot)
        if block.kind == "range":
            pairs = list(_pairs(value))
            for key, one in pairs:
                for name, what in zip(
                    block.pipe.names,
                    (key, one) if len(block.pipe.names) > 1 else (one,),
                    strict=False,
                ):
                    self.variables[name] = what
                self.nodes(block.body, one)
            chosen: Sequence[Node] = () if pairs else block.otherwise
        elif is_true(value):
            chosen, dot = block.body, value if block.kind == "with" else dot
        else:
            chosen = block.otherwise
        self.nodes(chosen, dot)
        # What was declared within ends here; what was assigned stays.
        for name in self.declared:
            if name in outer:
                self.variables[name] = outer[name]
            else:
                self.variables.pop(name, None)
        self.declared = outer_declared

    def _pipe(self, pipe: Pipe, dot: object) -> object:
        value: object = None
        for number, command in enumerate(pipe.commands):
            last = (value,) if number else ()
            value = self._call(command, dot, last)
        for name in pipe.names[:1]:
            if not pipe.declares and name not in self.variables:
                raise TemplateError(f"undefined variable {name}")
            self.variables[name] = value
        if pipe.declares:
            self.declared.update(pipe.names)
        return value

    def _call(self, call: Call, dot: object, last: tuple[object, ...]) -> object:
        self._step()
        if not call.name:
            if last:
                raise TemplateError("a value can't be piped into a value")
            return self._operand(call.arguments[0], dot)
        if call.name in {"and", "or"}:
            return self._choice(call, dot, last)
        function = self.functions.get(call.name)
        if function is None:
            raise TemplateError(f"function {call.name!r} not defined")
        arguments = [self._operand(one, dot) for one in call.arguments]
        try:
            return function(*arguments, *last)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise TemplateError(f"error calling {call.name}: {error}") from None

    def _choice(self, call: Call, dot: object, last: tuple[object, ...]) -> object:
        """Return what `and` or `or` gives: it looks no further than it must."""
        value: object = None
        for argument in (*call.arguments, *(Literal(one) for one in last)):
            value = self._operand(argument, dot)
            if is_true(value) is (call.name == "or"):
                break
        return value

    def _operand(self, operand: Operand, dot: object) -> object:
        match operand:
            case Literal():
                return operand.value
            case Path():
                if operand.start == ".":
                    return _field(dot, operand.fields)
                if operand.start not in self.variables:
                    raise TemplateError(f"undefined variable {operand.start}")
                return _field(self.variables[operand.start], operand.fields)
            case Inner():
                return _field(self._pipe(operand.pipe, dot), operand.fields)
            case Call():
                return self._call(operand, dot, ())

    def _step(self) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise TemplateError("takes too many steps")

    def _write(self, text: str) -> None:
        self.chars += len(text)
        if self.chars > TEXT_CHARS_MAX:
            raise TemplateError("writes too much")
        self.out.append(text)


def _field(value: object, fields: Sequence[str]) -> object:
    for name in fields:
        if not isinstance(value, Mapping):
            raise TemplateError(f"can't evaluate field {name}")
        # A label that isn't there is empty (Prometheus: missingkey=zero).
        value = value.get(name, "")
    return value


def _pairs(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, Mapping):
        yield from sorted(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from enumerate(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from ((i, i) for i in range(min(value, STEPS_MAX + 1)))
    elif value is not None:
        raise TemplateError("range can't iterate over it")
