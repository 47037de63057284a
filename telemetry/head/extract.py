"""The samples of a request, as the head takes them: columns of what the scanner has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.sink import DELTA, Sample


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.uint64]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Samples as they came, in the order of the request."""

    ids: Ids
    """Series ids."""

    ts_ms: Ints
    values: Floats


def whole(samples: Ids) -> Columns:
    """Return those of *samples*, rows of `telemetry.scan.sink.Sample`, that are no differences."""
    deltas = samples[Sample.FLAGS] & np.uint64(DELTA) != 0
    return _columns(samples if not deltas.any() else _chosen(samples, ~deltas))


def added_up(samples: Ids) -> Columns:
    """Return those of *samples* that were differences, once they have been added up."""
    return _columns(_chosen(samples, samples[Sample.FLAGS] & np.uint64(DELTA) != 0))


def _chosen(samples: Ids, which: NDArray[np.bool_]) -> Ids:
    """Return columns of *samples* with rows that are contiguous, as the head is compiled for."""
    return np.ascontiguousarray(samples[:, which])


def _columns(samples: Ids) -> Columns:
    return Columns(
        ids=samples[Sample.SERIES],
        ts_ms=samples[Sample.TIME].view(np.int64),
        values=samples[Sample.VALUE].view(np.float64),
    )
