"""
Clusters that nothing points at any more stay for a while. Pure: times are arguments.

Envoy acknowledges new routes when its main thread has them. A request that a worker has matched
by then may wait its turn (`http.max_requests_per_io_cycle`) and looks its cluster up only later:
were it gone, that request would fail, in the right order of all updates too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.xds.resources import BY_KEY, NO_RESOURCES, Resource, Snapshot, since


if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES: Final = ("CDS", "EDS")

Name = tuple[str, str]
"""A type's key and the name of a resource."""


class Lingering:
    """What went a little while ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before = Snapshot()
        self._going: dict[Name, tuple[float, Resource]] = {}
        """Until when, oldest first."""

    def over(self, snapshot: Snapshot, now: float) -> Snapshot:
        """Return *snapshot*, the newest, with what went less than the given time before *now*."""
        if snapshot is not self._before:
            for name, item in self._gone(snapshot):
                self._going.setdefault(name, (now + self._seconds, item))
            self._before = snapshot
        self._going = {
            (key, name): (until, item)
            for (key, name), (until, item) in self._going.items()
            if until > now and name not in snapshot.of(BY_KEY[key])
        }
        if not self._going:
            return snapshot
        kept = [(key, item) for (key, _), (_, item) in self._going.items()]
        return snapshot.changed(snapshot.revision, kept)

    def fork(self) -> Lingering:
        """Return the same for some of the edges, who are served something else."""
        fork = Lingering(self._seconds)
        fork._before, fork._going = self._before, dict(self._going)
        return fork

    def join(self, fork: Lingering) -> None:
        """Have what went from a fork that ends stay for all."""
        self._going = {**fork._going, **self._going}

    def deadline(self) -> float | None:
        """Return when the next of it goes for good; None: there is nothing."""
        return min((until for until, _ in self._going.values()), default=None)

    def _gone(self, snapshot: Snapshot) -> Iterator[tuple[Name, Resource]]:
        for key in _TYPES:
            earlier = self._before.resources.get(key, NO_RESOURCES)
            names = since(snapshot.of(BY_KEY[key]), earlier)
            for name in earlier if names is None else names:
                if name in earlier and name not in snapshot.of(BY_KEY[key]):
                    yield (key, name), earlier[name]
