"""
How mutations become cells. Pure: the records they touch in, the changes out.

Who knew of what is exact, without clocks: a mutation carries the `seq` its device had seen
(`base_seq`) and the device's own count (`number`).

    a write to a cell that      its device has written since, or removed            is stale: ignored
                                came from the same device otherwise                 is followed
                                has seq <= base_seq                                 is followed
                                has the same value                                  is agreed with
                                anything else: concurrent                           greater clock wins

A removal wins over every write it didn't know of, and over every write that didn't know of it;
one that didn't know of another removal has nothing left to do.
Losers of what was concurrent go to the journal. The order in which one device's mutations
arrive doesn't matter, nor how often they do: what each of them touched is remembered with its
result, since others may have written there in between, or have agreed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from syncd import clock, values
from syncd.integrity import MODULUS, cell_hash
from syncd.limits import Limits
from syncd.model import (
    Batch,
    Cell,
    DeleteRecord,
    Field,
    Loser,
    Loss,
    Mutation,
    Record,
    Result,
    SetFields,
    Status,
    UnknownOperation,
    Write,
)


RECORD_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")

NUMBER_MAX = (1 << 63) - 1
NOTHING_NEWER = 0
REMOVED = 0
"""The field number of a removal among what a mutation touched."""

Touched = Mapping[str, Mapping[int, int]]
"""By record id and field number: the seq of the cell that has the mutation's value, 0 if it lost."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A mutation that has its result."""

    digest: bytes
    result: Result
    touched: Touched = field(default_factory=dict)
    """Nothing of what was rejected."""


@dataclass(slots=True, kw_only=True)
class Slice:
    """The part of a space that some mutations touch; merging changes it in place."""

    head_seq: int
    state_hash: int
    records_next: int
    fields: Mapping[str, Field]
    """The schema, by name."""

    records: dict[str, Record]
    """Those of the touched ones that exist or existed, by id."""

    remembered: dict[tuple[str, int], Remembered]
    """By device and number: those in question, and whatever has overtaken them."""

    confirmed: dict[str, int]
    """By device: results up to this number may have been forgotten."""


@dataclass(slots=True)
class Written:
    """What merging changed, for whoever stores it."""

    cells: set[tuple[str, int]] = field(default_factory=set)
    """Record id and field number of cells that were written, moved or removed."""

    records: set[str] = field(default_factory=set)
    """Records that are new, came back or were removed."""

    losers: list[Loser] = field(default_factory=list)
    results: dict[tuple[str, int], Remembered] = field(default_factory=dict)
    """New results, by device and number."""

    confirmed: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Step:
    """One mutation, and what it has come to so far."""

    write: Write
    base: int
    """What its device had seen."""

    effects: int = 0
    losses: int = 0
    seen_at: int = NOTHING_NEWER
    """Greatest seq of what it agreed with or lost against."""

    touched: dict[str, dict[int, int]] = field(default_factory=dict)
    """As of `Touched`."""

    def touch(self, record_id: str, number: int, seq: int) -> None:
        self.touched.setdefault(record_id, {})[number] = seq

    def lose(self, record_id: str, number: int, seq: int) -> None:
        self.touch(record_id, number, 0)
        self.losses += 1
        self.seen_at = max(self.seen_at, seq)


class Merge:
    """Merges batches into *space*, one after the other, and notes in `written` what changed."""

    def __init__(self, space: Slice, *, now_ms: int, limits: Limits) -> None:
        self.space = space
        self.written = Written()
        self._now_ms = now_ms
        self._limits = limits
        self._newest: dict[tuple[str, str, int], tuple[int, int]] = {}
        """By device, record and field: the greatest number of its mutations there, and its seq."""
        for (device, number), known in space.remembered.items():
            self._note(device, number, known.touched)

    def apply(self, batch: Batch) -> list[Result]:
        """Merge *batch*; return one result per mutation, in its order. Repeating is harmless."""
        confirmed = self.space.confirmed.get(batch.device, 0)
        results = [self._one(batch.device, mutation, confirmed) for mutation in batch.mutations]
        through = min(batch.confirmed_through, NUMBER_MAX)
        if through > confirmed:
            self.space.confirmed[batch.device] = through
            self.written.confirmed[batch.device] = through
        return results

    def _one(self, device: str, mutation: Mutation, confirmed: int) -> Result:
        known = self.space.remembered.get((device, mutation.number))
        digest = mutation.digest()
        if known is not None:
            if known.digest == digest:
                return known.result
            return _rejected(mutation, "MUTATION_NUMBER_REUSED", "another one had this number")
        if 0 < mutation.number <= confirmed:
            return Result(number=mutation.number, status=Status.FORGOTTEN)
        result = self._refusal(mutation)
        touched: Touched = {}
        if result is None:
            result, touched = self._merge(device, mutation)
            self._note(device, mutation.number, touched)
        if 0 < mutation.number <= NUMBER_MAX:
            remembered = Remembered(digest, result, touched)
            self.space.remembered[device, mutation.number] = remembered
            self.written.results[device, mutation.number] = remembered
        return result

    def _note(self, device: str, number: int, touched: Touched) -> None:
        for record, fields in touched.items():
            for one, seq in fields.items():
                cell = device, record, one
                self._newest[cell] = max((number, seq), self._newest.get(cell, (0, 0)))

    def _since(
        self, write: Write, record_id: str, number: int, there: Write | None
    ) -> tuple[int, int] | None:
        """
        Return what the device of *write* has said of a cell since: its number, its seq.

        Args:
            there: What is there now, which tells as much if it is the device's own.

        """
        newest = self._newest.get((write.device, record_id, number), (0, 0))
        if there is not None and there.device == write.device:
            newest = max(newest, (there.number, there.seq))
        return newest if newest[0] > write.number else None

    def _refusal(self, mutation: Mutation) -> Result | None:
        """Return why *mutation* can never take effect, if so."""
        if not 0 < mutation.number <= NUMBER_MAX:
            return _rejected(mutation, "NUMBER_INVALID", "numbers are 1 to 2^63-1")
        if not mutation.operations:
            return _rejected(mutation, "OPERATIONS_MISSING", "a mutation has operations")
        if len(mutation.operations) > self._limits.operations_max:
            most = self._limits.operations_max
            return _rejected(mutation, "OPERATIONS_TOO_MANY", f"at most {most} operations")
        if mutation.base_seq > self.space.head_seq:
            text = f"base_seq {mutation.base_seq}; the space is at {self.space.head_seq}"
            return _rejected(mutation, "BASE_SEQ_IN_FUTURE", text)
        size, new = 0, set()
        for operation in mutation.operations:
            size += len(operation.record)
            if not RECORD_ID.fullmatch(operation.record):
                return _rejected(mutation, "RECORD_ID_INVALID", "see Operation.record")
            if operation.record not in self.space.records:
                new.add(operation.record)
            match operation:
                case UnknownOperation():
                    return _rejected(mutation, "OPERATION_UNKNOWN", "neither set nor delete")
                case SetFields(values=fields):
                    fault = self._fault(fields)
                    if fault is not None:
                        return _rejected(mutation, *fault)
                    size += sum(len(name) + len(value) for name, value in fields.items())
        if size > self._limits.mutation_bytes_max:
            return _rejected(mutation, "MUTATION_TOO_LARGE", f"{size} bytes")
        if self.space.records_next - 1 + len(new) > self._limits.records_max:
            return _rejected(mutation, "SPACE_FULL", f"at most {self._limits.records_max} records")
        return None

    def _fault(self, fields: Mapping[str, bytes]) -> tuple[str, str] | None:
        if not fields:
            return "FIELDS_MISSING", "set at least one field"
        for name, value in fields.items():
            known = self.space.fields.get(name)
            if known is None:
                return "FIELD_UNKNOWN", f"the space has no field {name[:64]!r}"
            if value == values.INVALID:
                return "VALUE_INVALID", f"field {name!r}: NaN, or a time beyond year 9999"
            if values.kind(value) not in (known.kind, values.Kind.NULL):
                text = f"field {name!r} takes {known.kind.name}, not {values.kind(value).name}"
                return "VALUE_TYPE_WRONG", text
            if len(value) - 1 > self._limits.value_bytes_max:
                return "VALUE_TOO_LARGE", f"field {name!r}: {len(value) - 1} bytes"
        return None

    def _merge(self, device: str, mutation: Mutation) -> tuple[Result, Touched]:
        write = Write(
            seq=self.space.head_seq + 1,
            hlc=clock.clamp(mutation.hlc, self._now_ms, self._limits.clock_ahead_max),
            device=device,
            number=mutation.number,
        )
        step = _Step(write, mutation.base_seq)
        for operation in mutation.operations:
            if isinstance(operation, SetFields):
                self._set(operation, step)
            elif isinstance(operation, DeleteRecord):
                self._delete(operation, step)
        if step.effects:
            self.space.head_seq = write.seq
        seq = write.seq if step.effects else step.seen_at
        if not step.losses:
            status = Status.APPLIED
        else:
            status = Status.MERGED if step.effects else Status.SUPERSEDED
        return Result(number=mutation.number, status=status, seq=seq), step.touched

    def _set(self, operation: SetFields, step: _Step) -> None:
        write = step.write
        record = self.space.records.get(operation.record)
        removal = record.removal if record is not None else None
        stale = self._since(write, operation.record, REMOVED, removal) is not None
        if removal is not None and (stale or not _follows(write, step.base, removal)):
            for name, value in operation.values.items():
                number = self.space.fields[name].number
                step.lose(operation.record, number, removal.seq)
                if removal.device != write.device and not stale:
                    lost = Cell(value, write)
                    self._lose(operation.record, number, lost, Loss.DELETED, removal.seq)
            return
        for name in sorted(operation.values):
            number = self.space.fields[name].number
            self._set_cell(operation.record, number, operation.values[name], step)

    def _set_cell(self, record_id: str, number: int, value: bytes, step: _Step) -> None:
        write = step.write
        record = self.space.records.get(record_id)
        old = record.cells.get(number) if record is not None else None
        step.touch(record_id, number, write.seq)
        if self._since(write, record_id, number, old.write if old else None) is not None:
            seen = (old.write if old else None, record.removal if record else None)
            step.lose(record_id, number, max(one.seq if one else 0 for one in seen))
        elif old is None:
            self._put(record_id, number, Cell(value, write))
            step.effects += 1
        elif old.value == value:
            # Agreed: nothing to send, but later writes meet the newer of the two.
            follows = _follows(write, step.base, old.write)
            if follows or (write.hlc, write.device) > (old.write.hlc, old.write.device):
                newest = replace(write, seq=old.write.seq, hlc=max(write.hlc, old.write.hlc))
                self._put(record_id, number, Cell(value, newest))
            step.touch(record_id, number, old.write.seq)
            step.seen_at = max(step.seen_at, old.write.seq)
        elif _follows(write, step.base, old.write):
            hlc = max(write.hlc, old.write.hlc + 1)
            self._put(record_id, number, Cell(value, replace(write, hlc=hlc)))
            step.effects += 1
        elif (write.hlc, write.device) > (old.write.hlc, old.write.device):
            self._lose(record_id, number, old, Loss.OLDER, write.seq)
            self._put(record_id, number, Cell(value, write))
            step.effects += 1
        else:
            self._lose(record_id, number, Cell(value, write), Loss.OLDER, old.write.seq)
            step.lose(record_id, number, old.write.seq)

    def _delete(self, operation: DeleteRecord, step: _Step) -> None:
        write = step.write
        record = self._record(operation.record, write.seq)
        removal = record.removal
        if removal is not None and not _follows(write, step.base, removal):
            # It has been removed since; what is there now came from those who knew.
            step.touch(operation.record, REMOVED, 0)
            step.losses += removal.device == write.device
            step.seen_at = max(step.seen_at, removal.seq)
            return
        step.touch(operation.record, REMOVED, write.seq)
        for number, cell in sorted(record.cells.items()):
            since = self._since(write, operation.record, number, cell.write)
            if since is not None and (
                cell.write.device == write.device or since[1] == cell.write.seq
            ):
                # The same device wrote it after this removal, or agreed with who did: it stays,
                # told anew beside it.
                moved = replace(cell.write, seq=write.seq, device=write.device, number=since[0])
                self._put(operation.record, number, Cell(cell.value, moved))
                continue
            if not _follows(write, step.base, cell.write):
                self._lose(operation.record, number, cell, Loss.DELETED, write.seq)
            self._drop(record, number)
        if record.cells:
            record.created_seq = write.seq  # Named anew too: the page may end before its cells.
        record.removal = write
        self.written.records.add(operation.record)
        step.effects += 1

    def _record(self, record_id: str, seq: int) -> Record:
        record = self.space.records.get(record_id)
        if record is None:
            number = self.space.records_next
            self.space.records_next += 1
            record = Record(record_id=record_id, number=number, created_seq=seq)
            self.space.records[record_id] = record
            self.written.records.add(record_id)
        return record

    def _put(self, record_id: str, number: int, cell: Cell) -> None:
        record = self._record(record_id, cell.write.seq)
        if record.cells.get(number) is not None:
            self._drop(record, number)
        elif not record.cells:
            record.created_seq = cell.write.seq
            self.written.records.add(record_id)
        record.cells[number] = cell
        added = cell_hash(record_id, number, cell.write.seq, cell.value)
        self.space.state_hash = (self.space.state_hash + added) % MODULUS
        self.written.cells.add((record_id, number))

    def _drop(self, record: Record, number: int) -> None:
        cell = record.cells.pop(number)
        gone = cell_hash(record.record_id, number, cell.write.seq, cell.value)
        self.space.state_hash = (self.space.state_hash - gone) % MODULUS
        self.written.cells.add((record.record_id, number))

    def _lose(self, record: str, number: int, cell: Cell, reason: Loss, winner_seq: int) -> None:
        self.written.losers.append(
            Loser(
                record=record,
                field=number,
                value=cell.value,
                device=cell.write.device,
                number=cell.write.number,
                hlc=cell.write.hlc,
                reason=reason,
                winner_seq=winner_seq,
            )
        )


def _follows(write: Write, base: int, old: Write) -> bool:
    """Whether *write*, made when *base* had been seen, knew of *old*."""
    if old.device == write.device:
        return old.number <= write.number
    return old.seq <= base


def _rejected(mutation: Mutation, reason: str, message: str) -> Result:
    return Result(number=mutation.number, status=Status.REJECTED, reason=reason, message=message)
