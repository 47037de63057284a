"""
Compiled code on disk, thrown away when the code it was made of has changed.

numba looks at the file a function stands in, not at those it takes functions and constants from.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path


_FOLDERS = ("scan", "load", "head", "map")
"""Folders of telemetry with functions that are compiled by `telemetry.scan.wire`."""

_COMPILED = (*_FOLDERS, "promql")
"""All folders with functions that are compiled."""

_STAMP = "compiled.stamp"
_WHOLE = "compiled.whole"

_HERE = Path(__file__).resolve().parent


@cache
def drop_stale() -> int:
    """Delete what was compiled of other sources than today's; return how many files went."""
    folders = [_HERE.parent / name for name in _FOLDERS]
    digest = hashlib.sha256()
    for source in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(source.read_bytes())
    stamp = _HERE / "__pycache__" / _STAMP
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


def is_whole() -> bool:
    """Whether all of today's sources are compiled, or can't be kept: nothing is to be done."""
    stamp = _kept() / _WHOLE
    if stamp.exists():
        return stamp.read_text() == _state()
    return not os.access(_kept() if _kept().exists() else _kept().parent, os.W_OK)


def note_whole() -> None:
    """Note that all of today's sources are compiled."""
    _kept().mkdir(exist_ok=True)
    (_kept() / _WHOLE).write_text(_state())


def _kept() -> Path:
    """Return the folder that the note is in: numba's, or beside what it compiled of this one."""
    return Path(os.environ.get("NUMBA_CACHE_DIR") or _HERE / "__pycache__")


def _state() -> str:
    """Return what numba looks at when it decides whether to compile a function again."""
    files = sorted(path for name in _COMPILED for path in (_HERE.parent / name).rglob("*.py"))
    told = [f"{path} {(at := path.stat()).st_mtime_ns} {at.st_size}" for path in files]
    told += [sys.version, version("numba"), version("llvmlite"), _processor()]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _processor() -> str:
    """Return what the processor is: compiled code runs on no other."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
