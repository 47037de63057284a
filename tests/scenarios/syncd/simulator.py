"""
A server and some devices without a network: the real state machines, merging, columns and
device stores, joined by queues that a test can cut, repeat and reorder. One thread, no clock.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import sync_service_pb2 as contract
from aerofusion_client.deltas import unpack
from aerofusion_client.protocol import ClientMachine, End, Save, Send
from aerofusion_client.space import deleting, setting
from aerofusion_client.store import Store
from syncd import integrity, protocol, values
from syncd.limits import Limits
from syncd.merge import Merge, Slice
from syncd.model import Access, Batch, Field, Head, Schema, Space
from syncd.protocol import SessionMachine
from syncd.store.changes import changes_of
from syncd.values import Kind
from syncd.wire import deltas, downward, messages


NAME = "tenants/t/spaces/s"
KEY = 7
FIELDS = (
    Field(name="gate", kind=Kind.STRING, number=1),
    Field(name="status", kind=Kind.STRING, number=2),
)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = 1_800_000_000_000
ROUNDS_MAX = 1_000
"""Exchanges within which everything must have come into step."""


class Server:
    """The tables of one space, in memory, and what `store/` does with them."""

    def __init__(self):
        self.limits = Limits()
        self.now_ms = NOW_MS
        self.losers = []
        self.slice = Slice(
            head_seq=0,
            state_hash=integrity.EMPTY,
            records_next=1,
            fields={each.name: each for each in FIELDS},
            records={},
            remembered={},
            confirmed={},
        )

    def apply(self, batch: Batch):
        """Merge, and check that what was seen before does nothing."""
        part = self.slice
        before = part.head_seq
        old = all(
            (batch.device, each.number) in part.remembered
            or each.number <= part.confirmed.get(batch.device, 0)
            for each in batch.mutations
        )
        merge = Merge(part, now_ms=self.now_ms, limits=self.limits)
        results = merge.apply(batch)
        self.losers += merge.written.losers
        assert not old or part.head_seq == before, "a repeated mutation was applied twice"
        assert not old or not merge.written.losers
        through = part.confirmed.get(batch.device, 0)
        for device, number in list(part.remembered):
            if device == batch.device and number <= through:
                del part.remembered[device, number]
        return results, Head(space_key=KEY, seq=part.head_seq, state_hash=part.state_hash)

    def space(self) -> Space:
        return Space(
            tenant="t",
            space_id="s",
            space_key=KEY,
            display_name="",
            schema=Schema(fields=FIELDS),
            access=Access(),
            head_seq=self.slice.head_seq,
            state_hash=self.slice.state_hash,
            records_next=self.slice.records_next,
            version=1,
            create_time=EPOCH,
            update_time=EPOCH,
        )

    def changes(self, after: int, end: int):
        """What `ChangeReader` would read, cut at *end*."""
        new, removed, cells = [], [], []
        for record in self.slice.records.values():
            if record.created_seq > after and (after > 0 or record.cells):
                row = {"seq": record.created_seq, "number": record.number}
                new.append({**row, "record_id": record.record_id})
            if record.removal is not None and record.removal.seq > after > 0:
                removed.append({"seq": record.removal.seq, "number": record.number})
            for number, cell in record.cells.items():
                if cell.write.seq > after:
                    row = {"seq": cell.write.seq, "record": record.number, "field": number}
                    cells.append({**row, "value": cell.value, "hlc": cell.write.hlc})
        removed.sort(key=lambda row: (row["seq"], row["number"]))
        cells.sort(key=lambda row: (row["seq"], row["record"], row["field"]))
        return changes_of(self.space(), after=after, end=end, new=new, removed=removed, cells=cells)

    def view(self):
        return {
            record.record_id: {
                each.name: values.as_string(record.cells[each.number].value)
                for each in FIELDS
                if each.number in record.cells
            }
            for record in self.slice.records.values()
            if record.cells
        }


@dataclass
class Stream:
    """One connection: what is on its way, and the server's end of it."""

    session: SessionMachine
    up: list[bytes] = field(default_factory=list)
    down: list[bytes] = field(default_factory=list)


class Device:
    """A client with its store; its memory can be lost, its store not."""

    def __init__(self, server: Server, name: str):
        self.server = server
        self.name = name
        self.store = Store(":memory:", new_device_id=name)
        self.clock_error_ms = 0
        self.stream: Stream | None = None
        self.pushed: list[bytes] = []
        self.heard: list[bytes] = []
        self.results: dict[int, frames.MutationResult] = {}
        self.written: dict[int, frames.Mutation] = {}
        self.trace: list[str] | None = None
        """A line about each frame, for whoever puts a list here."""
        self.restart()

    def restart(self):
        """Forget all that isn't in the store."""
        self.cut()
        self.machine = ClientMachine(self.name)
        self.machine.follow(self.store.load(NAME))

    @property
    def replica(self):
        return self.machine.links[NAME].replica

    def view(self):
        return {record: self.replica.get(record) for record in self.replica.ids()}

    def write(self, *operations):
        now_ms = self.server.now_ms + self.clock_error_ms
        waiting = self.replica.write(operations, max(1, now_ms))
        self.store.add(self.replica, waiting)
        self.written[waiting.mutation.number] = waiting.mutation
        self._do(self.machine.on_written(NAME, 0.0))

    def set(self, record, **fields):
        self.write(setting(record, fields))

    def delete(self, record):
        self.write(deleting(record))

    def connect(self):
        if self.stream is None:
            self.stream = Stream(
                SessionMachine(
                    subscriptions_max=4,
                    batch_mutations_max=500,
                    heartbeat_s=15,
                    age_max_s=600,
                    now=0.0,
                )
            )
            self._do(self.machine.on_connected(0.0))

    def cut(self):
        """Lose the stream and all that was on its way."""
        if self.stream is not None:
            self.stream = None
            self.machine.on_lost()

    def step_up(self) -> bool:
        """Let the server take one frame."""
        if self.stream is None or not self.stream.up:
            return False
        frame = frames.ClientFrame.FromString(self.stream.up.pop(0))
        self._serve(frame)
        return True

    def step_down(self) -> bool:
        """Let the device take one frame."""
        if self.stream is None or not self.stream.down:
            return False
        self.hear(self.stream.down.pop(0))
        return True

    def step_feed(self, cut: int = 0) -> bool:
        """Let the server send what is new, at most *cut* changes of it unless 0."""
        if self.stream is None:
            return False
        session = self.stream.session
        session.on_head(KEY, self.server.slice.head_seq, 1)
        read = session.next_read()
        if read is None:
            return False
        head = self.server.slice.head_seq
        end = min(head, read.after + cut) if cut else head
        changes = self.server.changes(read.after, end)
        self.stream.down.append(deltas.frame_bytes(deltas.delta(changes, reset=read.reset)))
        session.on_sent(read, changes.to_seq, changes.state_hash)
        return True

    def hear(self, data: bytes):
        self.heard.append(data)
        frame = contract.SessionResponse.FromString(data).frame
        self._note("<-", frame)
        if frame.WhichOneof("frame") == "ack":
            for result in frame.ack.results:
                if result.status != frames.MUTATION_STATUS_FORGOTTEN:
                    known = self.results.setdefault(result.number, result)
                    assert known == result, "a mutation got two results"
        self._do(self.machine.receive(frame, 0.0))

    def repeat_push(self, index: int):
        """A copy of an earlier push arrives, late, beside the stream."""
        if self.pushed:
            push = frames.Push.FromString(self.pushed[index % len(self.pushed)])
            self.server.apply(messages.batch_from(self.name, push.batch))

    def push_beside(self, index: int):
        """One waiting change overtakes the others in a push of its own; the answer is lost."""
        waiting = self.replica.unsettled()
        if waiting:
            message = frames.MutationBatch(mutations=[waiting[index % len(waiting)]])
            self.server.apply(messages.batch_from(self.name, message))

    def repeat_frame(self, index: int):
        """A copy of an earlier delta or ack arrives, late."""
        if self.heard and self.stream is not None:
            frame = self.heard[index % len(self.heard)]
            kind = contract.SessionResponse.FromString(frame).frame.WhichOneof("frame")
            if kind in ("delta", "ack"):
                self.hear(frame)

    def _note(self, way, frame):
        if self.trace is not None:
            self.trace.append(f"{self.name} {way} {said(frame)}")

    def _do(self, effects):
        for effect in effects:
            match effect:
                case Send():
                    self._note("->", effect.frame)
                    if self.stream is not None:
                        self.stream.up.append(effect.frame.SerializeToString())
                    if effect.frame.WhichOneof("frame") == "push":
                        self.pushed.append(effect.frame.push.SerializeToString())
                case Save():
                    self.store.save(effect.replica, effect.diff)
                case End():
                    self.cut()
                    return

    def _serve(self, frame):
        session = self.stream.session
        match frame.WhichOneof("frame"):
            case "hello":
                effects = session.on_hello(frame.hello.device_id, frame.hello.session_id, 1)
            case "subscribe":
                cursor = frame.subscribe.cursor
                effects = session.on_subscribe(NAME, cursor.space_key, cursor.seq)
            case "push":
                batch = messages.batch_from(session.device, frame.push.batch)
                effects = session.on_push(frame.push.space_key, batch)
        while effects:
            effect = effects.pop(0)
            match effect:
                case protocol.Claim():
                    effects += session.on_claimed("s-1", resumed=bool(effect.session_id))
                case protocol.Open():
                    head = self.server.slice.head_seq
                    effects += session.on_opened(effect, space_key=KEY, head=head, version=1)
                case protocol.Welcome():
                    self._say(downward.welcome(effect, now_ns=0, heartbeat_s=15))
                case protocol.Subscribed():
                    self._say(downward.subscribed(self.server.space(), writable=True))
                case protocol.Apply():
                    self._say(downward.ack(*self.server.apply(effect.batch)))
                case protocol.PushRefused():
                    self._say(downward.refused(effect.space_key, effect.reason))
                case protocol.Release():
                    pass
                case _:
                    raise AssertionError(effect)

    def _say(self, data: bytes):
        self.stream.down.append(data)


def said(frame) -> str:
    """One line about a frame."""
    kind = frame.WhichOneof("frame")
    body = getattr(frame, kind)
    match kind:
        case "subscribe":
            return f"subscribe after {body.cursor.seq}"
        case "push":
            numbers = [each.number for each in body.batch.mutations]
            based = [each.base_seq for each in body.batch.mutations]
            return f"push {numbers} based on {based}, confirmed {body.batch.confirmed_through}"
        case "delta":
            changes = unpack(body)
            what = f"{len(changes.cells)} cells, {len(changes.removals)} removals"
            flags = "".join([" reset" * body.reset, " more" * body.more])
            return f"delta {body.from_seq}..{body.to_seq}: {what}{flags}"
        case "ack":
            results = [
                f"{each.number} {frames.MutationStatus.Name(each.status)[16:]}@{each.seq}"
                for each in body.results
            ]
            return f"ack {', '.join(results)}; head {body.head.seq}"
        case _:
            return kind


def settle(server: Server, devices) -> None:
    """Connect everyone and let everything through until nothing moves."""
    for device in devices:
        device.connect()
    for _ in range(ROUNDS_MAX):
        moved = [
            step()
            for device in devices
            for step in (device.step_up, device.step_feed, device.step_down)
        ]
        if not any(moved):
            return
        for device in devices:
            device.connect()
    raise AssertionError("it never comes to rest")


def check(server: Server, devices) -> None:
    """Everything is in step, nothing acknowledged is lost."""
    for device in devices:
        replica = device.replica
        assert replica.pending == {}
        assert device.machine.links[NAME].heals == 0, "in step only by starting anew"
        assert replica.cursor == server.slice.head_seq
        assert device.view() == server.view()
        assert replica.state_hash == server.slice.state_hash
        kept = device.store.load(NAME)
        assert (kept.records, kept.state_hash) == (replica.records, replica.state_hash)
        assert (kept.pending, kept.cursor) == ({}, replica.cursor)
        assert set(device.results) == set(device.written), "a mutation without a result"
        for number, result in device.results.items():
            if result.status == frames.MUTATION_STATUS_APPLIED:
                _check_kept(server, device.written[number], result.seq)
                _check_own_order(server, device.name, device.written[number])


def _check_kept(server: Server, mutation: frames.Mutation, seq: int) -> None:
    """What was applied is there, or something at least as new in its place."""
    for operation in mutation.operations:
        record = server.slice.records[operation.record]
        removed = record.removal.seq if record.removal is not None else 0
        if operation.WhichOneof("action") == "delete":
            assert removed >= seq
            continue
        for name in operation.set.fields:
            cell = record.cells.get(server.slice.fields[name].number)
            assert removed >= seq or (cell is not None and cell.write.seq >= seq)


def _check_own_order(server: Server, device: str, mutation: frames.Mutation) -> None:
    """No older write of the same device stands where this one has written or removed."""
    for operation in mutation.operations:
        cells = server.slice.records[operation.record].cells
        numbers = {server.slice.fields[name].number for name in operation.set.fields}
        for number, cell in cells.items():
            if cell.write.device == device and (not numbers or number in numbers):
                assert cell.write.number >= mutation.number
