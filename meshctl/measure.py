"""What the processes of a part cost."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from meshctl.processes import all_stats


PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def pss_bytes(roots: Collection[int]) -> Mapping[int, int]:
    """
    Memory of each of *roots* and of all they started, shared pages counted in parts.

    Those of them that another of them started count for themselves alone. 0 for one
    that is gone, or isn't ours to look at.
    """
    parents = {stat.pid: stat.parent for stat in all_stats()}
    found = dict.fromkeys(roots, 0)
    for pid in parents:
        if (root := _root(pid, parents, roots)) is not None:
            found[root] += _pss_bytes(pid)
    return found


def _root(pid: int, parents: Mapping[int, int], roots: Collection[int]) -> int | None:
    """The nearest of *roots* at or above *pid*."""
    while pid not in roots:
        if pid not in parents:
            return None
        pid = parents[pid]
    return pid


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0
