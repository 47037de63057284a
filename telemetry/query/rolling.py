"""Roll-ups as the evaluator takes them: of the store, and at the edges made of samples."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from telemetry.promql import rolls
from telemetry.promql.kernels import compiled
from telemetry.promql.source import Rows, SamplesNeeded
from telemetry.promql.values import offsets_of, stale
from telemetry.store.rolled import Stretch
from telemetry.store.rollups import COARSE_MS, FINE_MS


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from telemetry.promql.kernels import Bools, Ints
    from telemetry.promql.labels import Labels
    from telemetry.promql.source import Columns, Source, Span
    from telemetry.query.source import StoreSource
    from telemetry.store.model import Series
    from telemetry.store.rolled import Blocks

NATIVE = "exponential"
"""The kind of series that have native histograms, which aren't rolled up."""

WIDTHS_MS = (COARSE_MS, FINE_MS)

_ROWS_AT_ONCE = 2_000_000
"""Rows that are read, and evaluated, at once; twice as many are under way meanwhile."""

_AHEAD = 2

_TIMES = ("first_ms", "last_ms")

_Room = dict[str, NDArray[Any]]
"""
Memory for each column of a query's rows, used for those of some series and then of the next.

To get it anew of the system each time cost more than to copy the rows to it.
"""


def rolled(store: StoreSource, samples: Source, span: Span) -> Iterator[Rows] | None:
    """
    Return the rows of *span*; None where no roll-ups lie in it.

    Args:
        samples: What the edges of the span are read from, and what isn't rolled up yet.

    Raises:
        InvalidInput: QUERY_TOO_LARGE: More series match than may.
        Unavailable: QUERY_TIMED_OUT: The store took too long.

    """
    until_ms, series = store.rollable(span.selection, span.series_max)
    first = _up(span.after_ms, FINE_MS)
    last = min(until_ms, span.until_ms // FINE_MS * FINE_MS)
    if first >= last or any(one.kind == NATIVE for one in series):
        return None
    edges = []
    for begin, end in ((span.after_ms, first), (last, span.until_ms)):
        if begin < end:
            found = samples.select(span.selection, begin + 1, end, series_max=span.series_max)
            if found.histogram is not None:
                return None
            edges.append(_made(found, end))
    return _chunks(store, span, _tables(first, last, span.widest_ms), series, edges)


def _up(at_ms: int, width_ms: int) -> int:
    return -(-at_ms // width_ms) * width_ms


def _tables(after_ms: int, until_ms: int, widest_ms: int) -> list[Stretch]:
    """Return what is read of each table: the longest windows where they fit."""
    if widest_ms == FINE_MS:
        return [Stretch(step_ms=FINE_MS, after_ms=after_ms, until_ms=until_ms)]
    first, last = _up(after_ms, COARSE_MS), until_ms // COARSE_MS * COARSE_MS
    if first >= last:
        return [Stretch(step_ms=FINE_MS, after_ms=after_ms, until_ms=until_ms)]
    return [
        Stretch(step_ms=FINE_MS, after_ms=after_ms, until_ms=first),
        Stretch(step_ms=COARSE_MS, after_ms=first, until_ms=last),
        Stretch(step_ms=FINE_MS, after_ms=last, until_ms=until_ms),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """Rows made of samples."""

    labels: Sequence[Labels]
    offsets: Ints
    columns: Mapping[str, NDArray[Any]]


def _made(found: Columns, end_ms: int) -> _Edge:
    """Return what samples come to; those of the last window, which may be cut, end at *end_ms*."""
    values = np.require(found.values, np.float64, ["C", "W"])
    ts, offsets = (np.require(one, np.int64, ["C", "W"]) for one in (found.ts, found.offsets))
    begins, whole, real = rolls.roll(ts, values, stale(values), offsets, FINE_MS)
    columns = dict(zip(rolls.WHOLE, whole, strict=True)) | dict(zip(rolls.REAL, real, strict=True))
    columns["end_ms"] = np.minimum(columns["end_ms"], end_ms)
    for column in columns.values():
        column.setflags(write=False)  # As what is read: copying is compiled for such.
    return _Edge(labels=found.labels, offsets=begins, columns=columns)


def _chunks(
    store: StoreSource,
    span: Span,
    tables: Sequence[Stretch],
    series: Sequence[Series],
    edges: Sequence[_Edge],
) -> Iterator[Rows]:
    each = max(1, sum((one.until_ms - one.after_ms) // one.step_ms for one in tables))
    size = max(1, _ROWS_AT_ONCE // each)
    parts = [series[i : i + size] for i in range(0, len(series), size)]
    under_way: deque[tuple[Sequence[Series], Future[Blocks]]] = deque()
    room: _Room = {}
    try:
        for part in parts:
            # Where several ids share their labels, only the times say which row is first.
            several = any(len(one.keys) > 1 for one in part)
            columns = (*span.columns, *_TIMES) if several else span.columns
            reading = store.reader.read_rollups(part, tables, columns)
            under_way.append((part, asyncio.run_coroutine_threadsafe(reading, store.loop)))
            if len(under_way) > _AHEAD:
                yield _rows(store, span, edges, under_way, room)
        while under_way:
            yield _rows(store, span, edges, under_way, room)
    finally:
        for _, future in under_way:
            future.cancel()
    known = {one.labels for one in series}
    new = dict.fromkeys(one for edge in edges for one in edge.labels if one not in known)
    if new:
        yield _joined(list(new), None, None, edges, span.columns, room)


def _rows(
    store: StoreSource,
    span: Span,
    edges: Sequence[_Edge],
    under_way: deque[tuple[Sequence[Series], Future[Blocks]]],
    room: _Room,
) -> Rows:
    part, future = under_way.popleft()
    blocks = store.result(future)
    owners = np.repeat(np.arange(len(part)), [len(one.keys) for one in part])
    ids = np.fromiter((key for one in part for _, key in one.keys), np.uint64)
    by_id = np.argsort(ids, kind="stable")
    several = owners if len(ids) > len(part) else None
    return _joined(
        [one.labels for one in part],
        (blocks, ids[by_id], owners[by_id]),
        several,
        edges,
        span.columns,
        room,
    )


def _joined(  # noqa: PLR0917 - a part of the functions above
    labels: Sequence[Labels],
    stored: tuple[Blocks, NDArray[np.uint64], Ints] | None,
    several: Ints | None,
    edges: Sequence[_Edge],
    names: Sequence[str],
    room: _Room,
    *,
    each: bool = False,
) -> Rows:
    """Return the rows of some series, of all places, in order; *each* sorted by itself if need be."""
    names = [*dict.fromkeys(["end_ms", *names, *(_TIMES if several is not None else ())])]
    owners, starts, lengths, firsts = [], [], [], []
    blocks: list[Mapping[str, NDArray[Any]]] = []
    size = 0
    if stored is not None:
        found, ids, of = stored
        for block in found:  # A piece is of one block.
            begin = _pieces(block, each=each or several is not None)
            owners.append(of[np.searchsorted(ids, block["series_id"][begin])])
            starts.append(size + begin)
            lengths.append(np.diff(np.append(begin, block["end_ms"].size)))
            firsts.append(block["end_ms"][begin])
            size += block["end_ms"].size
        blocks += found
    place = {one: i for i, one in enumerate(labels)}
    for edge in edges:
        here = np.array([place.get(one, -1) for one in edge.labels], np.int64)
        count = np.diff(edge.offsets)
        kept = np.flatnonzero((here >= 0) & (count > 0))
        owners.append(here[kept])
        starts.append(size + edge.offsets[:-1][kept])
        lengths.append(count[kept])
        firsts.append(edge.columns["end_ms"][edge.offsets[:-1][kept]])
        blocks.append(edge.columns)
        size += edge.columns["end_ms"].size
    owner, first = np.concatenate(owners), np.concatenate(firsts)
    order = np.lexsort((first, owner))
    owner, length = owner[order], np.concatenate(lengths)[order]
    columns = _in_order(blocks, names, np.concatenate(starts)[order], length, room)
    counts = np.zeros(len(labels), np.int64)
    np.add.at(counts, owner, length)
    offsets = offsets_of(counts)
    if several is not None:
        _check(columns, offsets)
    elif not each and not _rises(columns["end_ms"], offsets):
        return _joined(labels, stored, several, edges, names, room, each=True)
    return Rows(labels=labels, offsets=offsets, end_ms=columns["end_ms"], columns=columns)


def _pieces(block: Mapping[str, NDArray[Any]], *, each: bool) -> Ints:
    """Return where runs of one series' rising rows begin; *each* row by itself if they mingle."""
    begins = np.arange(block["end_ms"].size)
    return begins if each else begins[: _begin(block["series_id"], block["end_ms"], begins)]


@compiled
def _begin(ids: NDArray[np.uint64], end_ms: Ints, begins: Ints) -> int:
    """Note where pieces of rows begin; return how many there are."""
    count = 0
    for i in range(end_ms.size):
        if i > 0 and ids[i] == ids[i - 1]:
            apart = end_ms[i] - end_ms[i - 1]
            # Between rows that don't follow one another, others may come that stand elsewhere.
            if apart == FINE_MS or (apart == COARSE_MS and end_ms[i] % COARSE_MS == 0):
                continue
        begins[count] = i
        count += 1
    return count


@compiled
def _rises(end_ms: Ints, offsets: Ints) -> bool:
    """Return whether the rows of each series are in order."""
    for s in range(offsets.size - 1):
        for i in range(offsets[s] + 1, offsets[s + 1]):
            if end_ms[i] <= end_ms[i - 1]:
                return False
    return True


def _check(columns: Mapping[str, NDArray[Any]], offsets: Ints) -> None:
    """
    Look whether the rows of each series follow one another, whichever id they are of.

    Raises:
        SamplesNeeded: Some overlap: then only the samples say what they come to.

    """
    first, last, end = columns["first_ms"], columns["last_ms"], columns["end_ms"]
    same = _within(offsets)
    if (same & (first[1:] <= last[:-1])).any():
        raise SamplesNeeded
    if "ended" in columns:
        either = (columns["ended"][1:] + columns["ended"][:-1]) > 0
        if (same & either & (end[1:] == end[:-1])).any():
            raise SamplesNeeded


def _within(offsets: Ints) -> Bools:
    """Return for each row but the first whether it is of the same series as the one before it."""
    size = int(offsets[-1])
    same = np.ones(max(0, size - 1), np.bool_)
    inner = offsets[1:-1]
    same[inner[(inner > 0) & (inner < size)] - 1] = False
    return same


def _in_order(
    blocks: Sequence[Mapping[str, NDArray[Any]]],
    names: Sequence[str],
    start: Ints,
    length: Ints,
    room: _Room,
) -> dict[str, NDArray[Any]]:
    """Put pieces one behind the other, each of them of one block; starts count through all blocks."""
    at = np.cumsum(length) - length
    borders = offsets_of(np.array([block["end_ms"].size for block in blocks], np.int64))
    of = np.searchsorted(borders, start, side="right") - 1
    pieces = [
        (block, start[mine] - base, length[mine], at[mine])
        for block, base, mine in zip(
            blocks, borders, (of == i for i in range(len(blocks))), strict=False
        )
        if mine.any()
    ]
    columns = {}
    for name in names:
        out = _taken(room, name, int(length.sum()), blocks[0][name].dtype)
        for block, starts, lengths, places in pieces:
            _copy(block[name], starts, lengths, places, out)
        columns[name] = out
    return columns


def _taken(room: _Room, name: str, size: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return memory of *room* for so many values."""
    if name not in room or room[name].size < size:
        room[name] = np.empty(size, kind)
    return room[name][:size]


@compiled
def _copy(
    block: NDArray[Any], starts: Ints, lengths: Ints, places: Ints, out: NDArray[Any]
) -> None:
    """Copy pieces of *block* to their *places*."""
    for i in range(starts.size):
        start, place = starts[i], places[i]
        for j in range(lengths[i]):
            out[place + j] = block[start + j]


def warm() -> None:
    """Have compiled what puts rows together."""
    here = np.zeros(1, np.int64)
    _rises(here, np.array([0, 1]))
    read = {"series_id": np.zeros(1, np.uint64), "end_ms": np.zeros(1, np.int64)}
    for column in read.values():
        column.setflags(write=False)
    _pieces(read, each=False)
    for kind in (np.int64, np.float64):
        block = np.zeros(1, kind)
        block.setflags(write=False)
        _copy(block, here, here + 1, here, np.zeros(1, kind))
