"""The inbox in the app: our own database, so a message is there exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.errors import Unavailable
from notifier.channels.seam import Kind
from notifier.model import Reason
from notifier.outcome import Delivered, Dropped, Outcome, RetryLater


if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.channels.seam import Parts
    from notifier.model import Message

BATCHES_AT_ONCE = 2


class InappChannel:
    """Puts messages into inboxes, many in one transaction, and wakes the streams that watch."""

    repeatable = True

    def __init__(self, parts: Parts) -> None:
        self._inbox = parts.inbox
        self._wakes = parts.wakes
        self._clock = parts.clock
        self.batch_max = parts.settings.inapp_batch
        self.concurrency = parts.settings.inapp_batch * BATCHES_AT_ONCE

    async def deliver(self, batch: Sequence[Message]) -> list[Outcome]:
        now = self._clock()
        timely = [message for message in batch if now < message.useless_after]
        try:
            seqs = await self._inbox.append(timely, now=now) if timely else []
        except Unavailable as error:
            # Whether it was committed or not: the same delivery again changes nothing.
            retry = RetryLater(Reason.PROVIDER_UNREACHABLE, error.reason)
            return [retry if m in timely else Dropped(Reason.TOO_LATE) for m in batch]
        placed = dict(zip((m.delivery for m in timely), seqs, strict=True))
        self._wakes.inboxes({(m.tenant, m.recipient) for m in timely})
        return [_outcome(message, placed) for message in batch]

    async def close(self) -> None:
        """Nothing is held open: the pool belongs to the service."""


def _outcome(message: Message, placed: dict[str, int | None]) -> Outcome:
    if message.delivery not in placed:
        return Dropped(Reason.TOO_LATE)
    seq = placed[message.delivery]
    return Delivered(f"seq:{seq}") if seq is not None else Dropped(Reason.SUPERSEDED)


KIND = Kind(build=InappChannel, needs_address=False, address_problem=lambda _: "takes no address")
