"""Copies of files that never change: by a second name where that goes, else of their bytes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from telemetry.log.segments import sync_folder


if TYPE_CHECKING:
    from pathlib import Path

SUMS = "checksums.txt"
"""Of a part: the hashes of all its files."""


def copy(source: Path, target: Path) -> int:
    """Copy one file durably; return its size."""
    shutil.copyfile(source, target)
    sync(target)
    return target.stat().st_size


def sync(path: Path) -> None:
    """Make the bytes of a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def link(source: Path, target: Path) -> int:
    """Give a file a second name, or copy it to another disk; return how many bytes that copied."""
    try:
        os.link(source, target)
    except OSError:
        return copy(source, target)
    return 0


def copy_folder(source: Path, target: Path) -> int:
    """Copy a folder and what is in it durably; return how many bytes that were."""
    return _folder(source, target, linked=False)


def link_folder(source: Path, target: Path) -> int:
    """Link a folder's files into another; return how many bytes were copied all the same."""
    return _folder(source, target, linked=True)


def copy_part(source: Path, target: Path, earlier: Path | None) -> int:
    """
    Copy a part of a table; return how many bytes were copied.

    Args:
        source: The part.
        target: Its copy.
        earlier: A copy that may be of the same part; its files are shared if it is.

    """
    if earlier is not None and _is_same(source, earlier):
        return link_folder(earlier, target)
    return copy_folder(source, target)


def size_of(folder: Path) -> int:
    """Return the length of all files in *folder*."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _is_same(part: Path, other: Path) -> bool:
    sums = other / SUMS
    return sums.exists() and sums.read_bytes() == (part / SUMS).read_bytes()


def _folder(source: Path, target: Path, *, linked: bool) -> int:
    target.mkdir(parents=True, exist_ok=True)
    copied = 0
    for one in source.iterdir():
        other = target / one.name
        if one.is_dir():
            copied += _folder(one, other, linked=linked)
        else:
            copied += link(one, other) if linked else copy(one, other)
    sync_folder(target)
    return copied
