"""Every bound of the relay, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """What the relay holds at most, and how long it waits."""

    delta_streams_max: int = 4
    """Envoys at once: one, and those that are just leaving or coming."""

    pipes_max: int = 256
    """State-of-the-world streams of local gRPC clients at once."""

    message_bytes_max: int = 64 * 1024 * 1024
    """Largest message in either direction; larger ones end the stream."""

    events_max: int = 64
    """What a stream's parts have said and the session hasn't heard; beyond it they wait."""

    requests_max: int = 1_024
    """Requests that wait for the gateway to read; beyond it, it counts as lost."""

    first_request: timedelta = timedelta(seconds=5)
    """How long a stream may stay silent at first."""

    connect_patience: timedelta = timedelta(milliseconds=300)
    """How long a new stream waits for the gateway before the shelf answers."""

    answer_patience: timedelta = timedelta(seconds=1)
    """How long Envoy waits for a connected but silent gateway before the shelf answers."""

    reconnect_delay_max: timedelta = timedelta(seconds=1)
    """Longest pause between attempts to reach the gateway."""

    quiet: timedelta = timedelta(seconds=10)
    """How long the gateway must be silent for its answers to count as complete."""

    shelf_pause: timedelta = timedelta(milliseconds=250)
    """How long the shelf's disk rests between two saves."""
