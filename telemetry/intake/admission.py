"""
How much of what comes is taken: series in all, by tenant and by metric, and points a second.

A metric of which there are too many series has one of its labels folded: the one with the most
values. Points of series that aren't known then count as one series with `__overflow__` in its
place, and whoever sends them is told. Known series go on as they were. Which labels are folded
outlives a restart (`folds.json`, beside the log); deleting the file undoes it at the next start.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import FailedPrecondition, InvalidInput, Overloaded
from telemetry.log.segments import replace
from telemetry.scan.described import key_hash
from telemetry.scan.scanner import TooManyNew, group_of
from telemetry.scan.sink import FOLD_ALL


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from telemetry.load.series import SeriesCatalog
    from telemetry.scan.described import NewSeries
    from telemetry.scan.scanner import Scan, Scanner
    from telemetry.scan.shapes import Signal

    Metric = tuple[str, int]

log = structlog.get_logger()

_VALUES_MAX = 1_000
"""Values of a label that are told apart when the one that explodes is looked for."""

_METRICS_MAX = 10_000
"""Metrics whose labels' values are kept for that."""

_BURST_S = 2.0
_WAIT_MAX_S = 5.0
"""How long a request may wait for its new series to be taken; longer, and it is to come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much is taken."""

    series_max: int
    """Series of all tenants together."""

    tenant_series_max: int
    tenant_points_per_s: int
    """Points, records and spans of one tenant; 0: any number."""

    tenant_new_series_per_s: int
    """Series of one tenant that become known; 0: any number."""

    tenants_max: int
    metric_series_max: int
    """Series of one metric of one tenant, before its label with most values is folded."""


class Admission:
    """
    Judges requests within an allowance. `judge` may run on any thread.

    Args:
        folder: Keeps which labels are folded.
        clock: Seconds, never set back.

    """

    def __init__(
        self,
        scanner: Scanner,
        catalog: SeriesCatalog,
        allowance: Allowance,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scanner = scanner
        self._catalog = catalog
        self._allowance = allowance
        self._path = folder / "folds.json"
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[Metric, dict[str, set[str]]] = {}
        self._tenants: set[str] = set()
        self._buckets: dict[str, tuple[float, float]] = {}
        self._new_buckets: dict[str, tuple[float, float]] = {}
        self._folds: dict[Metric, int] = {}
        if self._path.exists():
            kept = json.loads(self._path.read_text())
            self._folds = {(tenant, metric): key for tenant, metric, key in kept}
        self._tell_scanner()

    @property
    def folded_metrics(self) -> int:
        """Metrics that have a label folded."""
        return len(self._folds)

    def judge(
        self,
        signal: Signal,
        request: bytes,
        received_ns: int,
        tenant: str,
        *,
        new_max: int | None = None,
    ) -> Scan:
        """
        Return what of *request* is stored, and under which series.

        Args:
            new_max: How many series may be new; None: any number.

        Raises:
            TooManyNew: More are; see `wait_for_new`.
            InvalidInput: The request can't be read.
            FailedPrecondition: `TENANTS_LIMIT`.

        """
        self._check_tenant(tenant)
        full = not self._has_room(tenant, 1)

        def judged(*, refuse_new: bool) -> Scan:
            return self._scanner.judge(
                signal, request, received_ns, tenant, refuse_new=refuse_new, new_max=new_max
            )

        scan = judged(refuse_new=full)
        if scan.new_series and self._fold_where_too_many(scan.new_series):
            scan = judged(refuse_new=full)
        if scan.new_series and not self._has_room(tenant, len(scan.new_series)):
            scan = judged(refuse_new=True)
        return scan

    def remember(self, scan: Scan) -> None:
        """Have requests with the same labels as *scan*'s judged faster. On one thread."""
        self._scanner.remember(scan)

    def judge_known(
        self, signal: Signal, request: bytes, received_ns: int, tenant: str
    ) -> Scan | None:
        """
        Return what `judge` would, now and whatever is learnt meanwhile.

        None: it can't be told without those before it. A tenant or a series isn't known, or the
        request can't be read.
        """
        if tenant and tenant not in self._tenants:
            return None
        try:
            return self._scanner.judge(signal, request, received_ns, tenant, new_max=0)
        except (TooManyNew, InvalidInput):
            return None

    def spend(self, tenant: str, items: int) -> None:
        """
        Take *items* off what *tenant* may send now. On one thread.

        Raises:
            Overloaded: `TENANT_RATE`: that is more than there is.

        """
        rate = self._allowance.tenant_points_per_s
        if not rate:
            return
        most = rate * _BURST_S
        now = self._clock()
        left, since = self._buckets.get(tenant, (most, now))
        left = min(most, left + (now - since) * rate)
        # A request larger than a whole bucket passes when the bucket is full, and is paid off.
        if left < min(items, most):
            self._buckets[tenant] = (left, now)
            raise Overloaded(
                "TENANT_RATE",
                "This tenant sends too much; send it again later.",
                retry_after=timedelta(seconds=max(1, math.ceil((min(items, most) - left) / rate))),
                per_second=str(rate),
            )
        self._buckets[tenant] = (left - items, now)

    def wait_for_new(self, tenant: str, series: int) -> float:
        """
        Take so many new *series* off what *tenant* may bring; return when, in seconds. On one thread.

        Describing a series costs as much as hundreds of samples: one tenant's new ones must not
        keep the others waiting.

        Raises:
            Overloaded: `SERIES_RATE`: it would have to wait too long.

        """
        rate = self._allowance.tenant_new_series_per_s
        if not rate:
            return 0.0
        now = self._clock()
        left, since = self._new_buckets.get(tenant, (rate * _BURST_S, now))
        left = min(rate * _BURST_S, left + (now - since) * rate)
        # A request with more than a whole bucket passes when the bucket is full, and is paid off.
        wait_s = max(0.0, (min(series, rate * _BURST_S) - left) / rate)
        if wait_s > _WAIT_MAX_S:
            self._new_buckets[tenant] = (left, now)
            raise Overloaded(
                "SERIES_RATE",
                "This tenant brings too many new series; send it again later.",
                retry_after=timedelta(seconds=math.ceil(wait_s)),
                per_second=str(rate),
            )
        self._new_buckets[tenant] = (left - series, now)
        return wait_s

    def _check_tenant(self, tenant: str) -> None:
        if not tenant or tenant in self._tenants:
            return
        self._tenants.update(one for one in self._catalog.by_tenant if one)
        most = self._allowance.tenants_max
        if tenant not in self._tenants and len(self._tenants) >= most:
            raise FailedPrecondition("TENANTS_LIMIT", "There are too many tenants.", most=str(most))
        self._tenants.add(tenant)

    def _has_room(self, tenant: str, more: int) -> bool:
        return (
            self._scanner.series + more <= self._allowance.series_max
            and self._catalog.by_tenant[tenant] + more <= self._allowance.tenant_series_max
        )

    def _fold_where_too_many(self, new: Iterable[NewSeries]) -> bool:
        """Fold a label of each metric that has too many series with *new*; return if any was."""
        changed = False
        with self._lock:
            counts: Counter[Metric] = Counter()
            for one in new:
                metric = one.tenant, one.metric
                counts[metric] += 1
                self._note_values(metric, one)
            for metric, count in counts.items():
                have = self._catalog.by_metric[metric] + count
                most = self._allowance.metric_series_max
                key = self._folds.get(metric)
                if have > most and key is None:
                    self._folds[metric] = self._exploding(metric)
                    changed = True
                elif have > 2 * most and key != FOLD_ALL:
                    self._folds[metric] = FOLD_ALL
                    changed = True
            if changed:
                kept = [[tenant, metric, key] for (tenant, metric), key in self._folds.items()]
                replace(self._path, json.dumps(kept).encode())
                self._tell_scanner()
        return changed

    def _note_values(self, metric: Metric, series: NewSeries) -> None:
        if metric not in self._values and len(self._values) >= _METRICS_MAX:
            return
        values = self._values.setdefault(metric, {})
        for name, value in series.attributes:
            seen = values.setdefault(name, set())
            if len(seen) < _VALUES_MAX:
                seen.add(value)

    def _exploding(self, metric: Metric) -> int:
        """Return the fold key of the label with the most values."""
        values = self._values.get(metric, {})
        if not values:
            return FOLD_ALL
        name = max(values, key=lambda one: len(values[one]))
        many = len(values[name]) > 1
        log.warning("label_folded", tenant=metric[0], metric=metric[1], label=name if many else "*")
        return key_hash(name) if many else FOLD_ALL

    def _tell_scanner(self) -> None:
        self._scanner.fold({group_of(*metric): key for metric, key in self._folds.items()})
