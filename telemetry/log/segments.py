"""The log's files: their names, numbers, and what a start finds in them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telemetry.log.records import Damage, Record, read
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.scan.batch import Batch

_RESERVED = 1_000
"""Numbers reserved at once: a number is never used twice, whatever was deleted."""


QUARANTINE_BYTES_MAX = 256 * 1024 * 1024
"""Beyond it, damaged bytes are counted and not kept."""


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """One file of the log."""

    signal: Signal
    number: int
    path: Path
    size: int = 0
    rows: int = 0
    """Rows it will make in its tables."""

    batches: list[Batch] | None = field(default_factory=list)
    """Those rows, of metrics; None: they must be read from the file."""

    batch_bytes: int = 0

    judged: bool = True
    """Whether today's scanner let all of its records in; an older one's may differ."""


class Numbers:
    """Hands out segment numbers, rising, over all starts."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "next"
        self._next = int(self._path.read_text()) if self._path.exists() else 1
        self._reserved = self._next

    def take(self) -> int:
        """Return the next number, durably never to be returned again."""
        if self._next == self._reserved:
            reserved = self._reserved + _RESERVED
            replace(self._path, str(reserved).encode())
            self._reserved = reserved
        number = self._next
        self._next += 1
        return number


def replace(path: Path, content: bytes) -> None:
    """Put *content* in the place of *path* durably: the old or the new is there, never half."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leftovers(folder: Path) -> list[Segment]:
    """Return the segments that an earlier run left, oldest first; its drafts go."""
    for signal in Signal:
        for draft in (*(folder / signal).glob("*.part"), *(folder / signal).glob("*.draft")):
            draft.unlink()
    found = [
        Segment(signal=signal, number=int(path.stem), path=path, size=path.stat().st_size)
        for signal in Signal
        for path in (folder / signal).glob("*.pb")
    ]
    return sorted(found, key=lambda segment: segment.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What `mend` found in a segment."""

    records: list[Record]
    data: bytes
    cut_bytes: int
    """Bytes of a record that was being written when the process died, gone."""

    quarantined_bytes: int
    """Bytes that were a record once, kept in quarantine."""


def mend(segment: Segment, quarantine: Path, *, newest: bool) -> Mended:
    """
    Read *segment*, and where it is damaged leave only its good records in it.

    Damage at the end of the *newest* segment of a signal is a write that never finished, so
    nobody was told that it had: it is cut. All other damage is kept in *quarantine*.
    """
    data = segment.path.read_bytes()
    records: list[Record] = []
    cut = quarantined = 0
    for found in read(data):
        if isinstance(found, Record):
            records.append(found)
        elif newest and found.end == len(data):
            cut += found.end - found.start
        else:
            quarantined += found.end - found.start
            keep(quarantine, segment, found, data)
    if cut or quarantined:
        good = b"".join(data[record.start : record.end] for record in records)
        replace(segment.path, good)
        mended = list(read(good))
        return Mended(
            records=[record for record in mended if isinstance(record, Record)],
            data=good,
            cut_bytes=cut,
            quarantined_bytes=quarantined,
        )
    return Mended(records=records, data=data, cut_bytes=0, quarantined_bytes=0)


def keep(quarantine: Path, segment: Segment, part: Damage | Record, data: bytes) -> None:
    """Write a *part* of *segment* to the folder *quarantine*, durably, while there is room."""
    quarantine.mkdir(exist_ok=True)
    if sum(kept.stat().st_size for kept in quarantine.iterdir()) > QUARANTINE_BYTES_MAX:
        return  # It is counted all the same; what is there shows what happens.
    name = f"{segment.signal}-{segment.number}-{part.start}.bin"
    replace(quarantine / name, data[part.start : part.end])
