"""What a channel is: the seam between the lanes and the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from meshkit.identity import Workload
    from notifier.model import Message
    from notifier.outcome import Outcome
    from notifier.settings import Settings
    from notifier.store.inbox import InboxStore
    from notifier.wakes import Wakes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a channel may be built from."""

    settings: Settings
    workload: Workload
    inbox: InboxStore
    wakes: Wakes
    clock: Callable[[], datetime]


class Channel(Protocol):
    """
    Hands messages to a provider.

    `deliver` reports every expected fault as an `Outcome`, one for each message and in
    their order; an exception out of it is a bug in the channel. It hands over nothing
    after a message's `useless_after`. It may be cancelled at any `await`, and then
    leaves no connection behind in the middle of a message. Calls for several batches overlap.
    """

    @property
    def repeatable(self) -> bool:
        """Whether a message that comes again under the same delivery id is recognised."""

    @property
    def batch_max(self) -> int:
        """Most messages one `deliver` takes."""

    @property
    def concurrency(self) -> int:
        """Messages under way at once in each lane."""

    async def deliver(self, batch: Sequence[Message]) -> list[Outcome]:
        """Hand over 1 to `batch_max` messages of one lane."""

    async def close(self) -> None:
        """Let go of connections. Nothing is under way any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is known of a channel before it is built."""

    build: Callable[[Parts], Channel | None]
    """Returns None where the channel is not configured."""

    needs_address: bool

    address_problem: Callable[[str], str]
    """Returns what is wrong with an address; "" if it is usable."""

    needs_subject: bool = False
