"""An area made of rooms: each room a module of the area's package with `measure(report)`."""

from __future__ import annotations

import importlib
import traceback
from typing import TYPE_CHECKING

from bench.report import Report


if TYPE_CHECKING:
    from collections.abc import Sequence


def measure(area: str, rooms: Sequence[str], only: Sequence[str]) -> Report:
    """
    Take the figures of all *rooms* of *area* in their order, or of those named in *only*.

    What was measured is written after each room; a room that fails is named in the report and
    takes no other's figures with it.

    Raises:
        SystemExit: A room isn't there.

    """
    unknown = sorted(set(only) - set(rooms))
    if unknown:
        raise SystemExit(f"bench: no room {', '.join(unknown)}; there are {', '.join(rooms)}")
    report = Report(area)
    for room in rooms:
        if only and room not in only:
            continue
        print(f"{area}: {room}", flush=True)
        try:
            importlib.import_module(f"bench.areas.{area}.{room}").measure(report)
        except Exception:  # noqa: BLE001 - the other rooms go on
            traceback.print_exc()
            report.failed.append(room)
        report.write()
    return report
