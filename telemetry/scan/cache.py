"""
Compiled code on disk, thrown away when the code it was made of has changed.

numba looks at the file a function stands in, not at those it takes functions and constants from.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


_FOLDERS = ("scan", "load", "head")
"""Folders of telemetry with functions that are compiled by `telemetry.scan.wire`."""

_STAMP = "compiled.stamp"


@cache
def drop_stale() -> int:
    """Delete what was compiled of other sources than today's; return how many files went."""
    here = Path(__file__).resolve().parent
    folders = [here.parent / name for name in _FOLDERS]
    digest = hashlib.sha256()
    for source in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(source.read_bytes())
    stamp = here / "__pycache__" / _STAMP
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return 0
    stale = [one for folder in folders for one in (folder / "__pycache__").glob("*.nb[ic]")]
    for path in stale:
        path.unlink(missing_ok=True)
    try:
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(digest.hexdigest())
    except OSError:
        pass  # Installed read-only: it was compiled elsewhere, or is each time.
    return len(stale)
