"""The verb `trace`: one trace as a waterfall, its critical path marked."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from aerofusion.telemetry.v1 import query_service_pb2 as rpc
from meshctl import paint
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json
from meshctl.cli.moments import clock, length
from meshctl.telemetry import CALL_TIMEOUT_S


BAR_MIN, BAR_MAX, NAME_MAX = 20, 80, 60
ON_PATH, OFF_PATH = "█", "░"
_PATH_ROWS = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """Which instant is which column of the bars."""

    start_ns: int
    end_ns: int
    columns: int

    def cells(self, start_ns: int, end_ns: int) -> range:
        """Return the columns that a stretch of time touches, at least one."""
        whole = max(self.end_ns - self.start_ns, 1)
        first = (start_ns - self.start_ns) * self.columns // whole
        last = -((self.start_ns - end_ns) * self.columns // whole)
        first = min(max(first, 0), self.columns - 1)
        return range(first, max(first + 1, min(last, self.columns)))


@click.command()
@click.argument("trace_id", metavar="TRACE")
@as_json
@click.pass_obj
def trace(context: Context, /, *, trace_id: str, wants_json: bool) -> None:
    """
    Show the trace TRACE: when each span of it ran, and what its time went into.

    Of a bar, █ is what the end of the trace waited for (its critical path), ░ is the rest.
    SELF is time in which none of a span's children ran.
    """
    request = rpc.GetTraceRequest(trace_id=trace_id)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.queries.GetTrace(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer))
        return
    for line in waterfall(answer, paint.width() if sys.stdout.isatty() else 140):
        click.echo(line)


def waterfall(answer: rpc.GetTraceResponse, columns: int) -> Iterable[str]:
    """Yield the lines that show a trace in *columns*."""
    spans = list(answer.spans)
    start = min(map(_start_ns, spans))
    end = max(_start_ns(one) + one.duration.ToNanoseconds() for one in spans)
    names = [paint.cut(f"{'  ' * one.depth}{one.service} {one.name}", NAME_MAX) for one in spans]
    widest = max(map(len, names))
    scale = Scale(start, end, min(max(columns - widest - 24, BAR_MIN), BAR_MAX))
    first = min(spans, key=_start_ns)
    yield f"trace {answer.trace_id}, {clock(first.start_time)}, took {length(answer.duration)}"
    yield f"{'SPAN'.ljust(widest)}  {'TOOK':>7}  {'SELF':>7}"
    for name, one in zip(names, spans, strict=True):
        bar = "".join(_bar(one, answer.critical_path, scale)).rstrip()
        failed = one.status == rpc.SPAN_STATUS_ERROR
        shown = paint.paint(name.ljust(widest), "red") if failed else name.ljust(widest)
        mark = " error" if failed else ""
        yield f"{shown}  {length(one.duration):>7}  {length(one.self_time):>7}  {bar}{mark}"
    yield from _path(answer, spans)


def _path(answer: rpc.GetTraceResponse, spans: Sequence[rpc.TraceSpan]) -> Iterable[str]:
    """Yield where most of the critical path's time went."""
    names = {one.span_id: f"{one.service} {one.name}" for one in spans}
    spent: Counter[str] = Counter()
    for segment in answer.critical_path:
        spent[names[segment.span_id]] += segment.duration.ToNanoseconds()
    whole = max(sum(spent.values()), 1)
    yield "its end waited for:"
    for name, nanoseconds in spent.most_common(_PATH_ROWS):
        yield f"  {nanoseconds * 100 / whole:3.0f} %  {name}"


def _bar(span: rpc.TraceSpan, path: Sequence[rpc.CriticalSegment], scale: Scale) -> Sequence[str]:
    begun = _start_ns(span)
    bar = [" "] * scale.columns
    for cell in scale.cells(begun, begun + span.duration.ToNanoseconds()):
        bar[cell] = OFF_PATH
    for segment in path:
        if segment.span_id == span.span_id:
            at = segment.start_time.ToNanoseconds()
            for cell in scale.cells(at, at + segment.duration.ToNanoseconds()):
                bar[cell] = ON_PATH
    return bar


def _start_ns(span: rpc.TraceSpan) -> int:
    return span.start_time.ToNanoseconds() + span.clock_shift.ToNanoseconds()
