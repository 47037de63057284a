"""In which order parts start and stop. Pure: names, and what each needs or calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet


Needs = Mapping[str, Sequence[str]]


def check(needs: Needs) -> None:
    """
    Raise ValueError if something needed doesn't exist, or needs itself in the end.

    Needs are few and short, so the simple way of taking away what can start is enough.
    """
    for name, wanted in needs.items():
        for other in wanted:
            if other not in needs:
                raise ValueError(f"{name} needs {other}, which doesn't exist")
    started: set[str] = set()
    while len(started) < len(needs):
        more = startable(needs, started) - started
        if not more:
            raise ValueError(f"these need one another: {', '.join(sorted(set(needs) - started))}")
        started |= more


def startable(needs: Needs, ready: AbstractSet[str]) -> set[str]:
    """Parts whose needs are all among *ready*, whether started already or not."""
    return {name for name, wanted in needs.items() if set(wanted) <= ready}


def stoppable(calls: Needs, running: AbstractSet[str]) -> set[str]:
    """Parts among *running* that no other part among them calls."""
    called = {other for name in running for other in calls[name]}
    return set(running) - called


def longest_stop_s(calls: Needs, stop_within_s: Mapping[str, float]) -> float:
    """How long it takes to stop everything when each part takes all of its time."""
    left = set(calls)
    ends: dict[str, float] = {}
    while left:
        for name in stoppable(calls, left):
            begins = max((end for other, end in ends.items() if name in calls[other]), default=0.0)
            ends[name] = begins + stop_within_s[name]
            left.discard(name)
    return max(ends.values(), default=0.0)
