"""
Who gets a notification over which channel, or why not. Pure: no clock, no I/O.

For every channel that the template or the producer names there is exactly one
verdict: planned, or a reason of the closed list. Rules in the order they are asked:

    TOO_LATE                useless_after has passed
    SUPERSEDED, CANCELLED   what happened to the notification itself
    NO_CONTENT              the producer wants a channel the template has nothing for
    CHANNEL_NOT_CONFIGURED  this installation doesn't have the channel
    NO_ADDRESS              the recipient isn't reachable there (inapp always is)
    CHANNEL_NOT_CHOSEN      the recipient doesn't want it; critical overrules that
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.model import Category, Reason


if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from notifier.model import Recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What there is to deliver, as far as policy cares."""

    category: Category
    useless_after: datetime
    wanted: frozenset[str]
    """Channels the producer allows; empty for all."""
    content: frozenset[str]
    """Channels the template has content for."""
    superseded: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one recipient and channel: planned if *reason* is NONE."""

    channel: str
    reason: Reason


def plan(
    offer: Offer,
    recipient: Recipient,
    *,
    configured: Mapping[str, bool],
    now: datetime,
) -> tuple[Verdict, ...]:
    """
    Return one verdict per channel concerned, sorted by channel.

    Args:
        configured: Channels of this installation, and whether each needs an address.

    """
    channels = sorted(offer.wanted or offer.content)
    return tuple(
        Verdict(channel, _verdict(offer, recipient, channel, configured, now))
        for channel in channels
    )


def still_wanted(
    *,
    useless_after: datetime,
    now: datetime,
    cancelled: bool,
    superseded: bool,
    recipient_exists: bool,
    reachable: bool,
) -> Reason:
    """Return NONE if a planned delivery may go out at *now*, else why not."""
    if cancelled:
        return Reason.CANCELLED
    if superseded:
        return Reason.SUPERSEDED
    if now >= useless_after:
        return Reason.TOO_LATE
    if not recipient_exists:
        return Reason.RECIPIENT_DELETED
    if not reachable:
        return Reason.NO_ADDRESS
    return Reason.NONE


def chosen(recipient: Recipient, category: Category) -> Collection[str]:
    """Return the channels that *recipient* chose for *category* (not asked for critical)."""
    if category in recipient.preferences:
        return recipient.preferences[category]
    return () if category is Category.PROMOTION else recipient.channels


def _verdict(
    offer: Offer,
    recipient: Recipient,
    channel: str,
    configured: Mapping[str, bool],
    now: datetime,
) -> Reason:
    if now >= offer.useless_after:
        return Reason.TOO_LATE
    if offer.superseded:
        return Reason.SUPERSEDED
    if offer.cancelled:
        return Reason.CANCELLED
    if channel not in offer.content:
        return Reason.NO_CONTENT
    if channel not in configured:
        return Reason.CHANNEL_NOT_CONFIGURED
    if configured[channel] and not recipient.addresses.get(channel):
        return Reason.NO_ADDRESS
    if offer.category is not Category.CRITICAL and channel not in chosen(recipient, offer.category):
        return Reason.CHANNEL_NOT_CHOSEN
    return Reason.NONE
