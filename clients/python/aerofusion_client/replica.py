"""
A space on a device: the server's cells as far as they are known, and the device's own changes
on top of them. Pure: no clock, no I/O; `store.py` keeps on disk what the returned diffs say.

The device never decides a conflict. Its own changes wait in `pending`, laid over the cells until
the cells show their outcome; so what the server refuses or overrules undoes itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client import values
from aerofusion_client.deltas import Changes, unpack


HLC_COUNTER_BITS = 16
FINAL = (
    frames.MUTATION_STATUS_APPLIED,
    frames.MUTATION_STATUS_MERGED,
    frames.MUTATION_STATUS_SUPERSEDED,
)


class Verdict(Enum):
    """What came of a delta or a proof."""

    APPLIED = auto()
    OLD = auto()
    """It said nothing new."""

    GAP = auto()
    """Something before it is missing: subscribe again at the cursor."""

    DIVERGED = auto()
    """The copies differ: start anew."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the schema."""

    number: int
    name: str
    kind: int


@dataclass(slots=True)
class Record:
    """A record as the server has it."""

    record_id: str
    cells: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Seq and value by field number."""


@dataclass(slots=True)
class Pending:
    """A change of this device whose outcome the cells don't show yet."""

    mutation: frames.Mutation
    settled_at: int | None = None
    """The `seq` at which they will; None while the server hasn't answered."""


@dataclass(slots=True)
class Diff:
    """What changed, for the store to keep in one transaction and for the app to hear."""

    reset: bool = False
    put: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Record number, field number, seq, value."""

    dropped: list[tuple[int, int]] = field(default_factory=list)
    named: list[tuple[int, str]] = field(default_factory=list)
    unnamed: list[int] = field(default_factory=list)
    settled: list[tuple[int, int]] = field(default_factory=list)
    """Number of a mutation, and seq of its outcome."""

    finished: list[int] = field(default_factory=list)
    """Numbers of mutations to forget."""

    rejected: list[tuple[frames.Mutation, str, str]] = field(default_factory=list)
    """Mutation, reason and message: kept until the app has dealt with it."""

    touched: set[str] = field(default_factory=set)
    """Ids of records that look different now."""


@dataclass(slots=True)
class Replica:
    """One space on this device."""

    name: str
    space_key: int = 0
    cursor: int = 0
    seen: int = 0
    """The furthest the cursor has been: what changes of this device know of."""

    schema: dict[int, Field] = field(default_factory=dict)
    records: dict[int, Record] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Record numbers by id."""

    state_hash: int = 0
    whole: bool = False
    """All pages of what was asked for have come."""

    next_number: int = 1
    hlc: int = 0
    pending: dict[int, Pending] = field(default_factory=dict)
    """By number, in order."""

    def get(self, record_id: str) -> dict[str, values.Value] | None:
        """Return the record's fields with this device's own changes; None if there is none."""
        known = self.records.get(self.numbers.get(record_id, 0))
        view: dict[str, values.Value] | None = None
        if known is not None and known.cells:
            view = {
                self.schema[number].name: values.from_cell(cell)
                for number, (_, cell) in sorted(known.cells.items())
                if number in self.schema
            }
        for waiting in self.pending.values():
            for operation in waiting.mutation.operations:
                if operation.record == record_id:
                    view = _overlaid(view, operation)
        return view

    def ids(self) -> list[str]:
        """Return the ids of all records there are, in the order the server made them."""
        found = [record.record_id for record in self.records.values() if record.cells]
        changed = {
            operation.record: None
            for waiting in self.pending.values()
            for operation in waiting.mutation.operations
        }
        if not changed:
            return found
        known = set(found)
        found += [record_id for record_id in changed if record_id not in known]
        return [x for x in found if x not in changed or self.get(x) is not None]

    def write(self, operations: Iterable[frames.Operation], now_ms: int) -> Pending:
        """Make a change on this device; it counts at once and waits for the server."""
        self.hlc = max(self.hlc + 1, now_ms << HLC_COUNTER_BITS)
        mutation = frames.Mutation(
            number=self.next_number, base_seq=self.seen, hlc=self.hlc, operations=operations
        )
        self.next_number += 1
        waiting = self.pending[mutation.number] = Pending(mutation)
        return waiting

    def restart(self) -> None:
        """Ask for everything anew; what is here stays readable until it comes."""
        self.cursor = 0
        self.whole = False

    def learn_schema(self, space_key: int, fields: Iterable[Field]) -> None:
        """Take in what the server says the space is."""
        if self.space_key not in (0, space_key):
            self.restart()
            self.seen = 0
        self.space_key = space_key
        self.schema = {each.number: each for each in fields}

    def apply(self, delta: frames.Delta) -> tuple[Verdict, Diff]:
        """
        Take in *delta*, wholly or not at all.

        Raises:
            InvalidDelta: It can't be read.

        """
        diff = Diff()
        if delta.space_key != self.space_key:
            return Verdict.OLD, diff
        if delta.from_seq > self.cursor:
            return Verdict.GAP, diff
        anew = delta.reset or (self.cursor == 0 and delta.from_seq == 0)
        if not anew and delta.to_seq < self.cursor:
            return Verdict.OLD, diff
        changes = unpack(delta)
        if anew:
            diff.reset = True
            diff.touched.update(self.numbers)
            self.records.clear()
            self.numbers.clear()
            self.state_hash = 0
        self._take(changes, diff)
        self.cursor = delta.to_seq
        self.seen = max(self.seen, self.cursor)
        self.whole = not delta.more
        self.hlc = max(self.hlc, delta.hlc_max)
        self._prune(diff)
        if delta.more:
            return Verdict.APPLIED, diff
        proof = frames.Head(
            space_key=delta.space_key, seq=delta.to_seq, state_hash=delta.state_hash
        )
        return self.prove(proof), diff

    def prove(self, head: frames.Head) -> Verdict:
        """Compare a proof with what is here; one for another `seq` proves nothing."""
        if head.space_key != self.space_key or head.seq != self.cursor or not self.whole:
            return Verdict.OLD
        same = head.state_hash == self.state_hash.to_bytes(16, "big")
        return Verdict.APPLIED if same else Verdict.DIVERGED

    def settle(self, results: Iterable[frames.MutationResult]) -> Diff:
        """Take in what became of this device's changes."""
        diff = Diff()
        for result in results:
            waiting = self.pending.get(result.number)
            if waiting is None:
                continue
            if result.status in FINAL:
                waiting.settled_at = result.seq
                diff.settled.append((result.number, result.seq))
                continue
            if result.status == frames.MUTATION_STATUS_REJECTED:
                diff.rejected.append((waiting.mutation, result.reason, result.message))
            self._finish(result.number, diff)
        self._prune(diff)
        return diff

    def unsettled(self) -> list[frames.Mutation]:
        """Return what the server hasn't answered, in order."""
        return [each.mutation for each in self.pending.values() if each.settled_at is None]

    def confirmed_through(self) -> int:
        """Return the number up to which this device knows all results."""
        first = next((n for n, each in self.pending.items() if each.settled_at is None), None)
        return (self.next_number if first is None else first) - 1

    def _take(self, changes: Changes, diff: Diff) -> None:
        for number, record_id in changes.new_records.items():
            if number not in self.records:
                self.records[number] = Record(record_id)
                self.numbers[record_id] = number
                diff.named.append((number, record_id))
        for number, seq in changes.removals:
            record = self.records.get(number)
            if record is not None:
                for name in [name for name, (at, _) in record.cells.items() if at < seq]:
                    self._drop(record, name)
                    diff.dropped.append((number, name))
                diff.touched.add(record.record_id)
        for cell in changes.cells:
            record = self.records.get(cell.record)
            if record is None:
                # Unnamed: the proof will tell, and everything be asked for anew.
                continue
            old = record.cells.get(cell.field)
            if old is not None:
                if old[0] >= cell.seq:
                    continue
                self._drop(record, cell.field)
            record.cells[cell.field] = (cell.seq, cell.value)
            added = values.cell_hash(record.record_id, cell.field, cell.seq, cell.value)
            self.state_hash = (self.state_hash + added) % values.MODULUS
            diff.put.append((cell.record, cell.field, cell.seq, cell.value))
            diff.touched.add(record.record_id)
        for number, _ in changes.removals:
            record = self.records.get(number)
            # One that is named here has come back; its cells may be in a later delta.
            back = number in changes.new_records
            if record is not None and not record.cells and not back:
                del self.records[number]
                del self.numbers[record.record_id]
                diff.unnamed.append(number)

    def _drop(self, record: Record, name: int) -> None:
        seq, cell = record.cells.pop(name)
        gone = values.cell_hash(record.record_id, name, seq, cell)
        self.state_hash = (self.state_hash - gone) % values.MODULUS

    def _prune(self, diff: Diff) -> None:
        """Let go of changes whose outcome the cells show."""
        for number, waiting in list(self.pending.items()):
            if waiting.settled_at is not None and waiting.settled_at <= self.cursor:
                self._finish(number, diff)

    def _finish(self, number: int, diff: Diff) -> None:
        waiting = self.pending.pop(number)
        diff.finished.append(number)
        diff.touched.update(operation.record for operation in waiting.mutation.operations)


def _overlaid(
    view: dict[str, values.Value] | None, operation: frames.Operation
) -> dict[str, values.Value] | None:
    if operation.WhichOneof("action") == "delete":
        return None
    changed: Mapping[str, values.Value] = {
        name: values.from_message(value) for name, value in operation.set.fields.items()
    }
    return {**(view or {}), **changed}
