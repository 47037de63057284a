"""Which edges have a change first: from the contract, checked."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.changes.canary import Rules
from gateway.config import First
from meshkit.errors import FailedPrecondition, InvalidInput


if TYPE_CHECKING:
    from collections.abc import Collection

    from aerofusion.gateway.v1 import config_service_pb2 as rpc

EDGES_MAX: Final = 100
OBJECTS_MAX: Final = 200
PERCENT: Final = 10
BAKE: Final = (timedelta(seconds=1), timedelta(hours=1))
FACTOR_MAX: Final = 1_000.0


def first_in(canary: rpc.Canary, wanted: rpc.ChangeSet, connected: Collection[str]) -> First:
    """
    Return which edges have a change first.

    Raises:
        InvalidInput: INVALID_CHANGE.
        FailedPrecondition: CANARY_WITHOUT_EDGES.

    """
    problems = _problems(canary, wanted)
    if problems:
        raise InvalidInput(
            "INVALID_CHANGE", f"The change can't be: {problems}.", field_violations=problems
        )
    edges = sorted(set(canary.edges)) or _share(canary.percent or PERCENT, connected)
    if not edges:
        raise FailedPrecondition(
            "CANARY_WITHOUT_EDGES",
            "No edge is connected to this replica that could have it first; name the edges.",
        )
    usual = Rules()
    rules = Rules(
        bake_s=canary.bake_time.ToTimedelta().total_seconds()
        if canary.HasField("bake_time")
        else usual.bake_s,
        error_percent_max=canary.error_percent_max or usual.error_percent_max,
        latency_factor_max=canary.latency_factor_max or usual.latency_factor_max,
    )
    return First(edges=tuple(edges), rules=dataclasses.asdict(rules))


def _problems(canary: rpc.Canary, wanted: rpc.ChangeSet) -> dict[str, str]:
    problems = {}
    if len(canary.edges) > EDGES_MAX or any(not 1 <= len(one) <= 100 for one in canary.edges):
        problems["canary.edges"] = f"at most {EDGES_MAX} names of 1 to 100 characters"
    if canary.percent > 99:
        problems["canary.percent"] = "must be 1 to 99"
    if canary.HasField("bake_time") and not (BAKE[0] <= canary.bake_time.ToTimedelta() <= BAKE[1]):
        problems["canary.bake_time"] = "must be 1 s to 1 h"
    if not 0 <= canary.error_percent_max <= 100:
        problems["canary.error_percent_max"] = "must be 0 to 100"
    if canary.latency_factor_max and not 1 <= canary.latency_factor_max <= FACTOR_MAX:
        problems["canary.latency_factor_max"] = f"must be 1 to {FACTOR_MAX:.0f}"
    if len(wanted.objects) + len(wanted.deletes) > OBJECTS_MAX or wanted.prune:
        problems["change_set"] = f"with a canary at most {OBJECTS_MAX} objects, and no prune"
    return problems


def _share(percent: int, connected: Collection[str]) -> list[str]:
    """Return so many of *connected*, at least one, always the same ones."""
    ordered = sorted(connected, key=lambda name: hashlib.sha256(name.encode()).digest())
    return ordered[: max(1, len(ordered) * percent // 100)]
