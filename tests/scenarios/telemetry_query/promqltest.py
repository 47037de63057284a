"""Runs Prometheus's PromQL test scripts against our engine, one verdict for each eval."""

import contextlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from meshkit.errors import MeshError
from telemetry.promql.engine import Answer, Engine, Series
from telemetry.promql.nodes import Kind
from tests.scenarios.telemetry_query.histogram import Buckets, Histogram, of_classic, of_row
from tests.scenarios.telemetry_query.memory import STALE_NAN, MemorySource
from tests.scenarios.telemetry_query.script import (
    STALE,
    Clear,
    Eval,
    Expect,
    Labels,
    Load,
    Point,
    duration_ms,
    read,
)


SCRIPTS = Path(__file__).resolve().parents[3].parent / "shared" / "promqltest"
EPSILON = 1e-6
SMALLEST = 2.2250738585072014e-308
QUERY_TIMES = re.compile(r"\b(?:start|end|range|step)\s*\(")


@dataclass(frozen=True)
class Verdict:
    """What became of one eval."""

    line: int
    query: str
    native: bool
    """Whether native histograms have to do with it."""

    complaint: str
    """Why it failed; "" if it passed."""


class Failed(Exception):
    """The answer isn't what the script expects."""


def run(path: Path) -> list[Verdict]:
    """Run a script and return a verdict for each of its evals, in order."""
    source = MemorySource()
    verdicts = []
    for command in read(path.read_text(encoding="utf-8")):
        match command:
            case Clear():
                source = MemorySource()
            case Load():
                _load(command, source)
            case Eval():
                source.met_native = any(
                    isinstance(point, Histogram) for _, points in command.series for point in points
                )
                complaint = _complaint(command, source)
                verdicts.append(Verdict(command.line, command.query, source.met_native, complaint))
    return verdicts


def _load(command: Load, source: MemorySource) -> None:
    classic: dict[Labels, dict[int, _Parts]] = {}
    for labels, points, spans in command.series:
        for i, point in enumerate(points):
            if point is None:
                continue
            ts_ms = i * command.interval_ms
            span = spans[i] if i < len(spans) else None
            start_ms = ts_ms + int(span) if isinstance(span, float) else 0
            if isinstance(point, Histogram):
                source.add(labels, ts_ms, point, start_ms)
                continue
            value = STALE_NAN if point == STALE else np.float64(point)
            source.add(labels, ts_ms, value, start_ms)
            if command.with_native_buckets:
                whole = classic.setdefault(_of_whole(labels), {}).setdefault(ts_ms, _Parts())
                whole.take(dict(labels), float(value))
    for labels, times in classic.items():
        for ts_ms, parts in sorted(times.items()):
            native = of_classic(parts.buckets, parts.count, parts.sum)
            if native is not None:
                source.add(labels, ts_ms, native)


@dataclass
class _Parts:
    """What a classic histogram's series say at one time."""

    buckets: dict[float, float] = field(default_factory=dict)
    count: float | None = None
    sum: float = 0.0

    def take(self, labels: dict[str, str], value: float) -> None:
        name = labels["__name__"]
        if name.endswith("_bucket"):
            with contextlib.suppress(ValueError):
                self.buckets[float(labels.get("le", "").replace("_", "x"))] = value
        elif name.endswith("_count"):
            self.count = value
        elif name.endswith("_sum"):
            self.sum = value


def _of_whole(labels: Labels) -> Labels:
    """Return the labels of the native histogram that a classic one's part belongs to."""
    return tuple(
        (name, re.sub("_(bucket|sum|count)$", "", value) if name == "__name__" else value)
        for name, value in labels
        if name != "le"
    )


def _complaint(command: Eval, source: MemorySource) -> str:
    engine = Engine(source=source)
    try:
        _check(command, engine)
    except Failed as failed:
        return str(failed)
    except MeshError as error:
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def _check(command: Eval, engine: Engine) -> None:
    fails = [e for e in command.expects if e.kind == "fail"]
    try:
        answer = _ask(command, engine)
    except MeshError as error:
        if not fails:
            raise
        for expect in fails:
            if not _matches(expect, str(error)):
                raise Failed(f"another error than {expect.text!r}: {error}") from None
        return
    if fails:
        raise Failed("an error was expected")
    _check_annotations(command, answer)
    if command.step_ms:
        _check_matrix(command, answer, command.start_ms, command.step_ms, command.end_ms)
        return
    if any(e.kind in ("range", "string") for e in command.expects):
        _check_special(command, answer)
        return
    _check_instant(command, answer)
    if not any(e.kind == "ordered" for e in command.expects) and not QUERY_TIMES.search(
        command.query
    ):
        _check_within_range(command, engine)


def _ask(command: Eval, engine: Engine) -> Answer:
    if command.step_ms:
        return engine.range(command.query, command.start_ms, command.end_ms, command.step_ms)
    return engine.instant(command.query, command.start_ms)


def _matches(expect: Expect, message: str) -> bool:
    if expect.how == "msg":
        return expect.text == message
    if expect.how == "regex":
        return re.search(expect.text, message) is not None
    return True


def _check_annotations(command: Eval, answer: Answer) -> None:
    for kind, found in (("warn", answer.warnings), ("info", answer.infos)):
        wanted = [e for e in command.expects if e.kind == kind]
        if wanted and not found:
            raise Failed(f"no {kind}")
        if found and any(e.kind == f"no_{kind}" for e in command.expects):
            raise Failed(f"unexpected {kind}: {found[0]}")
        for expect in wanted:
            if not any(_matches(expect, message) for message in found):
                raise Failed(f"no {kind} like {expect.text!r}, but {found[0]!r}")
        for message in found:
            if wanted and not any(_matches(expect, message) for expect in wanted):
                raise Failed(f"unexpected {kind}: {message}")


def _check_special(command: Eval, answer: Answer) -> None:
    for expect in command.expects:
        if expect.kind == "string" and (
            answer.kind is not Kind.STRING or answer.text != expect.text[1:-1]
        ):
            raise Failed(f"{answer.text!r} instead of {expect.text}")
        if expect.kind == "range":
            found = re.match(r"vector from (\S+) to (\S+) step (\S+)", expect.text)
            assert found, expect.text
            start, end, step = (duration_ms(word) for word in found.groups())
            _check_matrix(command, answer, start, step, end)


def _check_matrix(command: Eval, answer: Answer, start: int, step: int, end: int) -> None:
    if answer.kind is not Kind.MATRIX:
        raise Failed(f"{answer.kind.value} instead of matrix")
    got = {
        row.labels: dict(zip(row.ts.tolist(), _points(answer, row), strict=True))
        for row in answer.series
    }
    wanted: dict[Labels, dict[int, Point]] = {}
    for labels, points in command.series:
        wanted[labels] = {
            start + i * step: point for i, point in enumerate(points) if point is not None
        }
        if start + (len(points) - 1) * step > end:
            raise Failed("more points than steps")
    if got.keys() != wanted.keys():
        raise Failed(f"series {sorted(got)} instead of {sorted(wanted)}")
    for labels, row in wanted.items():
        if got[labels].keys() != row.keys():
            raise Failed(f"{labels}: points at {sorted(got[labels])} instead of {sorted(row)}")
        for ts, point in row.items():
            _check_value(labels, point, got[labels][ts])


def _check_instant(command: Eval, answer: Answer) -> None:
    if command.scalar is not None:
        if answer.kind is not Kind.SCALAR:
            raise Failed(f"{answer.kind.value} instead of scalar")
        _check_value((), command.scalar, float(answer.series[0].values[0]))
        return
    if answer.kind is not Kind.VECTOR:
        raise Failed(f"{answer.kind.value} instead of vector")
    got = [(row.labels, _points(answer, row)[0]) for row in answer.series]
    _check_samples(command, got)
    if any(e.kind == "ordered" for e in command.expects):
        order = [labels for labels, _ in command.series]
        if [labels for labels, _ in got] != order:
            raise Failed(f"order {[labels for labels, _ in got]} instead of {order}")


def _points(answer: Answer, row: Series) -> list[float | Histogram]:
    rows = [-1] * row.ts.size if row.histogram is None else row.histogram.tolist()
    return [
        float(value) if i < 0 or answer.histograms is None else of_row(answer.histograms, i)
        for i, value in zip(rows, row.values, strict=True)
    ]


def _check_samples(command: Eval, got: list[tuple[Labels, float | Histogram]]) -> None:
    found = dict(got)
    wanted = {labels: points[0] for labels, points in command.series}
    if len(found) != len(got) or found.keys() != wanted.keys():
        raise Failed(f"series {sorted(found)} instead of {sorted(wanted)}")
    for labels, point in wanted.items():
        _check_value(labels, point, found[labels])


def _check_within_range(command: Eval, engine: Engine) -> None:
    """Ask again for a minute to both sides: the middle step must be the same."""
    at = command.start_ms
    answer = engine.range(command.query, at - 60_000, at + 60_000, 60_000)
    got = []
    for row in answer.series:
        here = np.flatnonzero(row.ts == at)
        if here.size:
            got.append((row.labels, _points(answer, row)[here[0]]))
    if command.scalar is not None:
        _check_value((), command.scalar, got[0][1])
    else:
        _check_samples(command, got)


def _check_value(labels: Labels, wanted: Point, got: float | Histogram) -> None:
    if isinstance(wanted, Histogram) and isinstance(got, Histogram):
        same = _same_histogram(wanted, got)
    else:
        same = isinstance(wanted, float) and isinstance(got, float) and almost_equal(wanted, got)
    if not same:
        raise Failed(f"{labels}: {got!r} instead of {wanted!r}")


def _same_histogram(wanted: Histogram, got: Histogram) -> bool:
    return (
        wanted.schema == got.schema
        and wanted.bounds == got.bounds
        and wanted.zero_threshold == got.zero_threshold
        and almost_equal(wanted.count, got.count)
        and almost_equal(wanted.sum, got.sum)
        and almost_equal(wanted.zero_count, got.zero_count)
        and _same_buckets(wanted.pos, got.pos)
        and _same_buckets(wanted.neg, got.neg)
        and (not wanted.hint_given or wanted.hint == got.hint)
    )


def _same_buckets(wanted: Buckets, got: Buckets) -> bool:
    a = {index: n for index, n in wanted.items() if n != 0}
    b = {index: n for index, n in got.items() if n != 0}
    return a.keys() == b.keys() and all(almost_equal(n, b[index]) for index, n in a.items())


def almost_equal(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return True
    difference, size = abs(a - b), abs(a) + abs(b)
    if a == 0 or b == 0 or size < SMALLEST:
        return difference < EPSILON * SMALLEST
    return difference / min(size, 1.7976931348623157e308) < EPSILON
