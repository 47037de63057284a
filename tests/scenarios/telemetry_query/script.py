"""Reads Prometheus's PromQL test scripts: `load`, `clear` and `eval` commands."""

import math
import re
from dataclasses import dataclass, field

from tests.scenarios.telemetry_query.histogram import Histogram, added, parse


COMMAND = re.compile(r"^(load(?:_with_nhcb)?|clear|eval\w*)\b\s*(.*)$")
INSTANT = re.compile(r"^instant\s+(?:at\s+(\S+))?\s+(.+)$", re.DOTALL)
RANGE = re.compile(r"^range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$", re.DOTALL)
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
UNITS_MS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
STALE = "stale"

Point = float | Histogram | str | None
"""A value, a native histogram, `STALE`, or None where nothing is."""

Labels = tuple[tuple[str, str], ...]


@dataclass
class Load:
    """Series to add, with their points."""

    line: int
    interval_ms: int
    with_native_buckets: bool
    series: list[tuple[Labels, list[Point], list[Point]]] = field(default_factory=list)
    """Labels, points, and how much earlier than each, in milliseconds, its counter began."""

    starts: dict[Labels, list[Point]] = field(default_factory=dict)
    """Those of the lines to come."""


@dataclass
class Expect:
    """One `expect` line."""

    kind: str
    """fail, warn, info, no_warn, no_info, ordered, string or range."""

    how: str = ""
    """msg, regex, or empty: any."""

    text: str = ""


@dataclass
class Eval:
    """A query, and what must come out."""

    line: int
    query: str
    start_ms: int
    end_ms: int
    step_ms: int
    """0: an instant query."""

    expects: list[Expect] = field(default_factory=list)
    series: list[tuple[Labels, list[Point]]] = field(default_factory=list)
    scalar: float | None = None


@dataclass
class Clear:
    """Forget everything loaded."""

    line: int


Command = Load | Eval | Clear


def read(text: str) -> list[Command]:
    """Return the commands of a script."""
    commands: list[Command] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = COMMAND.match(line) if raw[0] not in " \t" or COMMAND.match(line) else None
        if found:
            commands.append(_command(number, found[1], found[2]))
        elif isinstance(commands[-1], Load):
            _loaded(commands[-1], line)
        elif isinstance(commands[-1], Eval):
            _expected(commands[-1], line)
    return commands


def _command(number: int, name: str, rest: str) -> Command:
    if name == "clear":
        return Clear(number)
    if name.startswith("load"):
        return Load(number, duration_ms(rest), name.endswith("nhcb"))
    instant = INSTANT.match(rest)
    if instant:
        at = duration_ms(instant[1] or "0")
        command = Eval(number, instant[2].strip(), at, at, 0)
    else:
        found = RANGE.match(rest)
        assert found, f"line {number}: neither an instant nor a range query"
        command = Eval(
            number,
            found[4].strip(),
            duration_ms(found[1]),
            duration_ms(found[2]),
            duration_ms(found[3]),
        )
    kind = name.removeprefix("eval").lstrip("_")
    if kind:
        command.expects.append(Expect(kind))
    return command


def _expected(command: Eval, line: str) -> None:
    if not line.startswith("expect"):
        if re.fullmatch(r"[-+.\w]+", line) and number(line) is not None:
            command.scalar = number(line)
            return
        labels, rest = series_name(line)
        command.series.append((labels, points(rest)))
        return
    found = re.match(r"expect\s+(\w+)\s*(?:(msg|regex)\s*:\s*)?(.*)$", line)
    assert found, line
    command.expects.append(Expect(found[1], found[2] or "", found[3].strip()))


def _loaded(load: Load, line: str) -> None:
    labels, rest = series_name(line)
    if rest.startswith("@st"):
        load.starts[labels] = spans(rest.removeprefix("@st"))
    else:
        load.series.append((labels, points(rest), load.starts.pop(labels, [])))


def series_name(line: str) -> tuple[Labels, str]:
    """Return the labels that *line* begins with, and what follows them."""
    match = re.match(r"[a-zA-Z_:][\w:]*", line)
    labels = {"__name__": match[0]} if match else {}
    at = match.end() if match else 0
    if at < len(line) and line[at] == "{" and not line.startswith("{{", at):
        at += 1
        while line[at] != "}":
            item = re.compile(
                r"\s*,?\s*(?:\"((?:[^\"\\]|\\.)*)\"|([\w.:]+))?\s*"
                r"(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'))?\s*"
            ).match(line, at)
            assert item is not None, line
            key = item[1] if item[1] is not None else item[2]
            value = item[3] if item[3] is not None else item[4]
            if key is not None and value is None:
                labels["__name__"] = _unquoted(key)
            elif key is not None:
                labels[_unquoted(key)] = _unquoted(value)
            at = item.end()
        at += 1
    return tuple(sorted((k, v) for k, v in labels.items() if v)), line[at:].strip()


def _unquoted(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        escape = found[1]
        if escape[0] in "xuU":
            return chr(int(escape[1:], 16))
        return {"n": "\n", "t": "\t", "r": "\r"}.get(escape, escape)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", one, text)


def points(text: str) -> list[Point]:
    """Return the points that `1 2+3x4 _ stale {{...}}` stands for."""
    out: list[Point] = []
    for word in re.findall(r"(?:\{\{.*?\}\}|[^\s{])+", text):
        if word.startswith("{{"):
            out += _histograms(word)
        else:
            out += _floats(word)
    return out


def _histograms(word: str) -> list[Point]:
    found = re.fullmatch(r"\{\{(.*?)\}\}(?:([-+])\{\{(.*?)\}\})?(?:x(\d+))?", word)
    assert found, word
    value, times = parse(found[1]), int(found[4] or 0)
    out: list[Point] = [value]
    for _ in range(times):
        if found[2]:
            value = added(value, parse(found[3]), 1.0 if found[2] == "+" else -1.0)
        out.append(value)
    return out


def _floats(word: str) -> list[Point]:
    found = re.fullmatch(r"(.+?)x(\d+)", word)
    body, times = (found[1], int(found[2])) if found else (word, None)
    if body == "_":
        return [None] * (times or 1)
    if body == STALE:
        return [body] * ((times or 0) + 1)
    step = re.fullmatch(r"([-+]?(?:[\d.]+(?:[eE][-+]?\d+)?|\w+))([-+].+)", body)
    value = number(body)
    if not (found and step and value is None):
        assert value is not None, word
        return [value] * ((times or 0) + 1)
    first, by = number(step[1]), number(step[2])
    assert first is not None, word
    assert by is not None, word
    out: list[Point] = []
    for _ in range((times or 0) + 1):
        out.append(first)
        first += by
    return out


def spans(text: str) -> list[Point]:
    """Return the lengths that `_ -30s-1mx2 0` stands for, in milliseconds."""
    out: list[Point] = []
    for word in text.split():
        found = re.fullmatch(r"([-+]?[^-+x]+)([-+][^x]+)?(?:x(\d+))?", word)
        assert found, word
        times = int(found[3] or 0)
        if found[1] == "_":
            out += [None] * (times or 1)
            continue
        value, by = float(duration_ms(found[1])), float(duration_ms(found[2] or "0"))
        out += [value + i * by for i in range(times + 1)]
    return out


def number(text: str) -> float | None:
    """Return the number that *text* is, None if it isn't one."""
    try:
        return float(text)
    except ValueError:
        return None


def duration_ms(text: str) -> int:
    """Return `1h30m`, `90` (seconds) or `-5s` in milliseconds."""
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-")
    seconds = number(body)
    if seconds is not None:
        return sign * round(seconds * 1000)
    parts = DURATION.findall(body)
    assert "".join(a + b for a, b in parts) == body != "", text
    return sign * round(math.fsum(float(amount) * UNITS_MS[unit] for amount, unit in parts))
