"""Where things stand in files, and what is wrong there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from meshctl import exits
from meshctl.faults import MeshctlError


PROBLEMS_SHOWN = 20

_LAST = re.compile(r"(\.[^.\[]+|\[\d+\])$")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(slots=True)
class Problems:
    """What is wrong, collected so that all of it is told at once."""

    found: list[tuple[Place, str]] = field(default_factory=list)

    def add(self, place: Place, what: str) -> None:
        self.found.append((place, what))

    def check(self) -> None:
        """
        Tell what was found.

        Raises:
            MeshctlError: Something was.

        """
        if not self.found:
            return
        shown = [f"{place}: {what}" for place, what in self.found[:PROBLEMS_SHOWN]]
        if len(self.found) > PROBLEMS_SHOWN:
            shown.append(f"... and {len(self.found) - PROBLEMS_SHOWN} more")
        raise MeshctlError(
            "\n".join(shown),
            "fix these lines; docs/meshctl.md says how objects are written",
            exit_code=exits.CONFIG,
        )


def nearest(places: Mapping[str, Place], path: str) -> Place | None:
    """Where *path*, such as `endpoints[0].port`, stands, or else what it is in."""
    while path:
        if path in places:
            return places[path]
        shorter = _LAST.sub("", path)
        path = "" if shorter == path else shorter
    return places.get("")
