"""What parts write goes straight into files; here those are kept from growing without end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


FILE_BYTES_MAX = 16 * 1024 * 1024
CHECK_INTERVAL_S = 5.0
TAIL_BYTES = 65_536
FOLLOW_INTERVAL_S = 0.2


async def keep_small(folder: Path) -> None:
    """Rotate the logs in *folder* until cancelled."""
    while True:
        with contextlib.suppress(OSError):  # A full disk: tried again.
            await asyncio.to_thread(rotate, folder, FILE_BYTES_MAX)
        await asyncio.sleep(CHECK_INTERVAL_S)


def rotate(folder: Path, bytes_max: int) -> None:
    """
    Move what is beyond *bytes_max* into `<name>.1`, over what was there.

    The writer keeps its file open and appends, so the file is copied and emptied;
    a line written between the two is lost.
    """
    for path in folder.glob("*.log"):
        if path.stat().st_size > bytes_max:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def tail(path: Path, lines: int) -> list[str]:
    """The last *lines* of *path*, of its last 64 KiB."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            found = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return found[-lines:] if lines else []


class Follower:
    """Reads what is added to a file, over its being emptied."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = path.stat().st_size if path.exists() else 0
        self._half = b""

    def new_lines(self) -> Iterator[str]:
        """Whole lines since the last call."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read_to:
                self._read_to = 0
            file.seek(self._read_to)
            content = self._half + file.read()
            self._read_to = file.tell()
            *lines, self._half = content.split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
