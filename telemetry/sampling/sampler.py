"""
Which traces stay, and for how many each of them stands. Pure: times are arguments.

A trace is decided on two seconds after its root has come. One that went wrong anywhere, or took
longer than 99 of 100 of its service, stays. Of the ordinary ones as large a share stays as the
budget leaves room for, chosen by their id, and each stands for 1 / share of them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from telemetry.map.join import BUCKETS, bucket_of
from telemetry.map.spans import DURATION, FAILED, PARENT, SERVICE, START, TRACE_HIGH, TRACE_LOW


if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE_MIN = 0.001
"""Of the ordinary ones at least so many stay, so that weights stay small enough to mean something."""

SLOW = 0.99
SLOW_FROM = 100
"""Traces of a service that are known before any of its can be called slow."""

_FORGET_AT = 10_000.0
_SMOOTHING_MS = 10_000.0
_WHOLE = 1 << 64


@dataclass(slots=True)
class _Open:
    """A trace that isn't decided on."""

    trace_id: bytes
    first_ms: int
    start_ns: int
    spans: int = 0
    failed: bool = False
    rooted: bool = False
    service: int = 0
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """A trace whose spans are to go."""

    trace_id: bytes
    start_ns: int
    """Before or when its first known span began."""


@dataclass(slots=True)
class Decisions:
    """What was decided at once."""

    dropped: list[Dropped] = field(default_factory=list)
    weights: list[tuple[bytes, float]] = field(default_factory=list)
    """Traces that stay for more than themselves, and for how many each."""


class History:
    """How long the traces of one service took; the old count less and less."""

    def __init__(self) -> None:
        self._counts = np.zeros(BUCKETS)
        self._whole = 0.0

    def slow(self, duration_ns: int) -> bool:
        """Whether a trace of that length is one of the longest hundredth."""
        if self._whole < SLOW_FROM:
            return False
        shorter = self._counts[: bucket_of(np.uint64(duration_ns))].sum()
        return bool(shorter >= SLOW * self._whole)

    def add(self, duration_ns: int) -> None:
        """Count a trace of that length."""
        self._counts[bucket_of(np.uint64(duration_ns))] += 1
        self._whole += 1
        if self._whole > _FORGET_AT:
            self._counts /= 2
            self._whole /= 2


class Sampler:
    """
    Decides on traces. To be used from one thread.

    Args:
        spans_per_second: The budget, of all traces together; odd ones stay even beyond it.
        grace_ms: From the root's coming to the decision.
        orphan_ms: From its first span to the decision on a trace without a root.
        remember_ms: How long spans that come late share their trace's fate.
        traces_max: Traces undecided at once, and remembered; beyond it the oldest stay.

    """

    def __init__(
        self,
        *,
        spans_per_second: float,
        grace_ms: int = 2_000,
        orphan_ms: int = 60_000,
        remember_ms: int = 300_000,
        traces_max: int = 200_000,
    ) -> None:
        self._budget = spans_per_second
        self._grace_ms = grace_ms
        self._orphan_ms = orphan_ms
        self._remember_ms = remember_ms
        self._traces_max = traces_max
        self._open: OrderedDict[bytes, _Open] = OrderedDict()
        self._due: deque[tuple[int, bytes]] = deque()
        self._decided: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._late: dict[bytes, int] = {}
        self._histories: dict[int, History] = {}
        self._odd_rate = self._ordinary_rate = 0.0
        self._odd = self._ordinary = 0
        self._last_ms = 0

    @property
    def share(self) -> float:
        """The share of ordinary traces that stays by now."""
        room = max(0.0, self._budget - self._odd_rate)
        if self._ordinary_rate <= room:
            return 1.0
        return max(SHARE_MIN, room / self._ordinary_rate)

    @property
    def undecided(self) -> int:
        """Traces that wait for their end."""
        return len(self._open)

    def take(self, spans: NDArray[np.uint64], now_ms: int) -> None:
        """Look at *spans*, rows of `telemetry.map.spans`, that have come at *now_ms*."""
        if not len(spans):
            return
        spans = spans[np.lexsort((spans[:, TRACE_LOW], spans[:, TRACE_HIGH]))]
        ids = spans[:, TRACE_HIGH : TRACE_LOW + 1]
        new = np.ones(len(spans), bool)
        new[1:] = (ids[1:] != ids[:-1]).any(1)
        firsts = np.flatnonzero(new)
        names = ids[firsts].astype(">u8").tobytes()
        starts = np.minimum.reduceat(spans[:, START], firsts).tolist()
        failed = np.logical_or.reduceat(spans[:, FAILED] != 0, firsts).tolist()
        counts = np.diff(firsts, append=len(spans)).tolist()
        roots = np.flatnonzero(spans[:, PARENT] == 0)
        # The first root of each trace: what is put in later stays.
        of_trace = (np.cumsum(new) - 1)[roots]
        root_of = dict(zip(of_trace[::-1].tolist(), roots[::-1].tolist(), strict=True))
        for i, count in enumerate(counts):
            one = self._undecided(names[16 * i : 16 * i + 16], starts[i], now_ms)
            if one is None:
                continue
            one.spans += count
            one.failed |= failed[i]
            root = root_of.get(i)
            if root is not None and not one.rooted:
                one.rooted = True
                one.service = int(spans[root, SERVICE])
                one.duration_ns = int(spans[root, DURATION])
                self._due.append((now_ms + self._grace_ms, one.trace_id))

    def decide(self, now_ms: int) -> Decisions:
        """Return what is decided by *now_ms*."""
        found = Decisions()
        while self._due and self._due[0][0] <= now_ms:
            self._decide_on(self._due.popleft()[1], found, now_ms)
        while self._open:
            trace_id, one = next(iter(self._open.items()))
            if one.first_ms + self._orphan_ms > now_ms:
                break
            self._decide_on(trace_id, found, now_ms)
        found.dropped += [Dropped(trace_id, start) for trace_id, start in self._late.items()]
        self._late.clear()
        while self._decided:
            trace_id, (decided_ms, _) = next(iter(self._decided.items()))
            if decided_ms + self._remember_ms > now_ms and len(self._decided) <= self._traces_max:
                break
            del self._decided[trace_id]
        self._measure(now_ms)
        return found

    def _undecided(self, trace_id: bytes, start_ns: int, now_ms: int) -> _Open | None:
        """Return the trace, spans of which have come, or None if it is decided on."""
        decided = self._decided.get(trace_id)
        if decided is not None:
            if decided[1]:  # Those that come late go as the others have gone.
                self._late[trace_id] = min(start_ns, decided[1])
            return None
        one = self._open.get(trace_id)
        if one is None:
            if len(self._open) >= self._traces_max:
                oldest, _ = self._open.popitem(last=False)
                self._decided[oldest] = (now_ms, 0)
            one = self._open[trace_id] = _Open(trace_id, now_ms, start_ns)
        one.start_ns = min(one.start_ns, start_ns)
        return one

    def _decide_on(self, trace_id: bytes, found: Decisions, now_ms: int) -> None:
        one = self._open.pop(trace_id, None)
        if one is None:  # It had to be decided on earlier.
            return
        odd = one.failed
        if one.rooted:
            history = self._histories.setdefault(one.service, History())
            odd = odd or history.slow(one.duration_ns)
            history.add(one.duration_ns)
        if odd:
            self._odd += one.spans
            self._decided[trace_id] = (now_ms, 0)
            return
        self._ordinary += one.spans
        share = self.share
        if int.from_bytes(trace_id[8:]) >= share * _WHOLE:
            found.dropped.append(Dropped(trace_id, one.start_ns))
            self._decided[trace_id] = (now_ms, one.start_ns)
            return
        self._decided[trace_id] = (now_ms, 0)
        if share < 1.0:
            found.weights.append((trace_id, 1.0 / share))

    def _measure(self, now_ms: int) -> None:
        """Have the rates follow what was decided on since the last time."""
        past_ms = now_ms - self._last_ms
        if self._last_ms and past_ms > 0:
            part = 1.0 - 0.5 ** (past_ms / _SMOOTHING_MS)
            self._odd_rate += part * (self._odd * 1000 / past_ms - self._odd_rate)
            self._ordinary_rate += part * (self._ordinary * 1000 / past_ms - self._ordinary_rate)
        if past_ms > 0:
            self._odd = self._ordinary = 0
            self._last_ms = now_ms
