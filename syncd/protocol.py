"""
A session as the server sees it: who the device is, what it follows, how far it has been told.

A pure state machine: no clock, no I/O, no asyncio. `session.py` feeds it what happens and does
what it returns. It holds cursors, never messages: a slow device just gets a later, merged delta.

            hello            welcome
    NEW ───────────▶ CLAIMING ──────▶ OPEN ◀──┐ subscribe, unsubscribe, push,
     │ anything else    │ refused      │ └─────┘ head, sent, tick
     └──────────────────┴──────────────┴──────▶ CLOSED (Goodbye is the last thing said)
                                stop, taken over, rotated, invalid frame
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from syncd.model import Batch, Head


PROTOCOL = 1


class State(Enum):
    NEW = auto()
    CLAIMING = auto()
    OPEN = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Claim:
    """Find out whether the device may have this session; then `on_claimed` or `on_refused`."""

    device: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Open:
    """Find the space and whether it may be read; then `on_opened` or `on_not_opened`."""

    space: str
    cursor_key: int
    cursor_seq: int


@dataclass(frozen=True, slots=True)
class Release:
    """The session needs no more news of this space."""

    space_key: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Make this batch durable, then tell its results."""

    space_key: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Welcome:
    session_id: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Subscribed:
    space_key: int


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    space: str
    reason: str


@dataclass(frozen=True, slots=True)
class PushRefused:
    space_key: int
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    heads: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Say this last, then end the stream."""

    reason: str
    come_back: bool


Effect = (
    Claim
    | Open
    | Release
    | Apply
    | Welcome
    | Subscribed
    | Unsubscribed
    | PushRefused
    | Heartbeat
    | Goodbye
)


@dataclass(frozen=True, slots=True)
class Read:
    """Send what changed in a space after a `seq`; then `on_sent`."""

    space_key: int
    after: int
    reset: bool


@dataclass(slots=True)
class Followed:
    """A space the device follows."""

    name: str
    cursor: int
    head: int
    version: int
    """Of the space itself; a newer one is told again."""

    reset: bool = False
    proof: Head | None = None
    """The last head it was told, if it was told everything."""


@dataclass(slots=True, kw_only=True)
class SessionMachine:
    """
    Invariants: nothing is said before Welcome or after Goodbye, cursors never go back
    except by a new subscription, and at most `subscriptions_max` spaces are followed.
    """

    subscriptions_max: int
    batch_mutations_max: int
    heartbeat_s: float
    age_max_s: float
    now: float
    """Monotonic, in seconds: when the stream began."""

    state: State = State.NEW
    device: str = ""
    session_id: str = ""
    followed: dict[int, Followed] = field(default_factory=dict)
    """By space key, in the order in which they get their turn."""

    pending: int = 0
    """Subscriptions that are being opened."""

    _said_at: float = 0.0
    _began_at: float = 0.0

    def __post_init__(self) -> None:
        self._said_at = self._began_at = self.now

    def on_hello(self, device: str, session_id: str, protocol: int) -> list[Effect]:
        if self.state is not State.NEW:
            return self.close("FRAME_INVALID")
        if protocol != PROTOCOL:
            return self.close("PROTOCOL_UNKNOWN")
        self.state = State.CLAIMING
        self.device = device
        return [Claim(device, session_id)]

    def on_claimed(self, session_id: str, *, resumed: bool) -> list[Effect]:
        """The device has its session."""
        if self.state is not State.CLAIMING:
            return []
        self.state = State.OPEN
        self.session_id = session_id
        return [Welcome(session_id, resumed)]

    def on_subscribe(self, space: str, cursor_key: int, cursor_seq: int) -> list[Effect]:
        if self.state is not State.OPEN:
            return self.close("HELLO_EXPECTED")
        known = any(each.name == space for each in self.followed.values())
        if not known and len(self.followed) + self.pending >= self.subscriptions_max:
            return [Unsubscribed(space, "SPACES_TOO_MANY")]
        self.pending += 1
        return [Open(space, cursor_key, cursor_seq)]

    def on_opened(self, asked: Open, *, space_key: int, head: int, version: int) -> list[Effect]:
        """The space may be read. A cursor of another life of it, or beyond it, starts anew."""
        self.pending -= 1
        if self.state is not State.OPEN:
            return [Release(space_key)]
        same = asked.cursor_key == space_key and asked.cursor_seq <= head
        cursor = asked.cursor_seq if same else 0
        fresh = cursor == 0 and (asked.cursor_key, asked.cursor_seq) != (0, 0)
        effects: list[Effect] = []
        if space_key in self.followed:
            effects.append(Release(space_key))
        self.followed[space_key] = Followed(asked.space, cursor, head, version, reset=fresh)
        return [*effects, Subscribed(space_key)]

    def on_not_opened(self, asked: Open, reason: str) -> list[Effect]:
        self.pending -= 1
        return [Unsubscribed(asked.space, reason)] if self.state is State.OPEN else []

    def on_unsubscribe(self, space_key: int) -> list[Effect]:
        if self.state is not State.OPEN:
            return self.close("HELLO_EXPECTED")
        return self.drop(space_key, "")

    def drop(self, space_key: int, reason: str) -> list[Effect]:
        """The space is followed no more: the device asked for it, or it is gone or forbidden."""
        gone = self.followed.pop(space_key, None)
        return [] if gone is None else [Release(space_key), Unsubscribed(gone.name, reason)]

    def on_push(self, space_key: int, batch: Batch) -> list[Effect]:
        if self.state is not State.OPEN:
            return self.close("HELLO_EXPECTED")
        if space_key not in self.followed:
            return [PushRefused(space_key, "SPACE_NOT_FOLLOWED")]
        if not batch.mutations and not batch.confirmed_through:
            return [PushRefused(space_key, "MUTATIONS_MISSING")]
        if len(batch.mutations) > self.batch_mutations_max:
            return [PushRefused(space_key, "BATCH_TOO_LARGE")]
        return [Apply(space_key, batch)]

    def on_head(self, space_key: int, seq: int, version: int) -> list[Effect]:
        """News of a space; older news changes nothing."""
        followed = self.followed.get(space_key)
        if followed is None or self.state is not State.OPEN:
            return []
        followed.head = max(followed.head, seq)
        if version > followed.version:
            followed.version = version
            return [Subscribed(space_key)]
        return []

    def next_read(self) -> Read | None:
        """Return what to send next; spaces take turns."""
        if self.state is not State.OPEN:
            return None
        for space_key, followed in self.followed.items():
            if followed.head > followed.cursor or followed.proof is None or followed.reset:
                return Read(space_key, followed.cursor, followed.reset)
        return None

    def wants(self, read: Read) -> bool:
        """Whether what was asked for by *read* may still be sent."""
        followed = self.followed.get(read.space_key)
        return (
            self.state is State.OPEN
            and followed is not None
            and (followed.cursor, followed.reset) == (read.after, read.reset)
        )

    def on_sent(self, read: Read, to_seq: int, state_hash: int | None) -> None:
        """What was read has been handed to the stream."""
        if not self.wants(read):
            return  # A new subscription came between.
        followed = self.followed[read.space_key]
        followed.cursor = max(to_seq, followed.cursor)
        followed.head = max(to_seq, followed.head)
        followed.reset = False
        if state_hash is not None:
            followed.proof = Head(space_key=read.space_key, seq=to_seq, state_hash=state_hash)
        # To the end of the line, so that a busy space doesn't starve the others.
        self.followed[read.space_key] = self.followed.pop(read.space_key)

    def said(self, now: float) -> None:
        """A frame has been handed to the stream."""
        self._said_at = now

    def wait_s(self, now: float) -> float:
        """Return how long nothing needs to happen if nothing else does."""
        return max(0.0, min(self._said_at + self.heartbeat_s, self._end()) - now)

    def on_tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        if self.state is State.CLOSED:
            return []
        if now >= self._end():
            return self.close("SESSION_ROTATED", come_back=True)
        if self.state is State.OPEN and now >= self._said_at + self.heartbeat_s:
            heads = tuple(
                followed.proof
                for followed in self.followed.values()
                if followed.proof is not None and followed.proof.seq == followed.cursor
            )
            return [Heartbeat(heads)]
        return []

    def close(self, reason: str, *, come_back: bool = False) -> list[Effect]:
        """Say goodbye, once, and let go of everything."""
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        released: list[Effect] = [Release(space_key) for space_key in self.followed]
        self.followed.clear()
        return [*released, Goodbye(reason, come_back)]

    def _end(self) -> float:
        return self._began_at + self.age_max_s
