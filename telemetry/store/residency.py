"""
Memory given back: code of large libraries that ran once, at start, and rarely since.

The engine and the compiler are mapped from 700 MB of files, of which a start touches some 270.
Unmapping pages that are clean and read-only loses nothing: the next access maps them again
from the page cache, some milliseconds for a query that comes after a long rest.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_AFTER_S = 5.0
AGAIN_AFTER_S = 300.0

_MADV_DONTNEED = 4
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ +(/\S.*)")


async def keep_small() -> None:
    """Give memory back soon after the start and every few minutes, until cancelled."""
    for wait_s in itertools.chain([FIRST_AFTER_S], itertools.repeat(AGAIN_AFTER_S)):
        await asyncio.sleep(wait_s)
        await asyncio.to_thread(give_back)


def give_back() -> int:
    """Unmap what can be had again; return how many bytes of mappings that were."""
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    given = 0
    for start, end in _clean_mappings(Path("/proc/self/smaps").read_text()):
        if libc.madvise(start, end - start, _MADV_DONTNEED) == 0:
            given += end - start
    return given


def _clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield the read-only mappings of files, none of whose pages was ever written to."""
    mapping: re.Match[str] | None = None
    for line in smaps.split(os.linesep):
        if line[:1].islower() or line[:1].isdigit():
            mapping = _MAPPING.match(line)
        elif line.startswith("Anonymous:") and mapping is not None:
            private_read_only = "w" not in mapping[3] and mapping[3].endswith("p")
            if private_read_only and line.split()[1] == "0":
                yield int(mapping[1], 16), int(mapping[2], 16)
