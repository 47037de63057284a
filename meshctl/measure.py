"""What the processes of a part cost."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from meshctl.processes import session_members, trace


PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def pss_bytes(leader_pid: int) -> int:
    """
    Memory of the process and of all it started, shared pages counted in parts.

    0 when there is no such process, or it isn't ours to look at.
    """
    leader = trace(leader_pid)
    if leader is None:
        return 0
    return sum(map(_pss_bytes, session_members(leader)))


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0
