"""What `meshctl demo` shows: the counts of the day's processes, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from meshctl.demo.counts import read_counts


PARTS = ("flightinfo", "devices", "mailsink")
STALE_AFTER = timedelta(seconds=5)
"""A part that hasn't written for so long isn't running, or hangs."""

ROWS: tuple[tuple[str, str, str], ...] = (
    ("events of the day", "flightinfo", "events"),
    ("departures on time", "flightinfo", "departures_on_time"),
    ("departures late", "flightinfo", "departures_late"),
    ("cancellations", "flightinfo", "events_cancelled"),
    ("notifications accepted", "flightinfo", "notifications"),
    ("notifications refused", "flightinfo", "notifications_refused"),
    ("mails received", "mailsink", "mails"),
    ("inbox messages, live", "devices", "inbox_live"),
    ("inbox messages, caught up", "devices", "inbox_resumed"),
    ("board changes", "flightinfo", "board_changes"),
    ("board changes seen by devices", "devices", "changes"),
    ("boards found equal", "devices", "converged"),
    ("boards found different", "devices", "diverged"),
)
"""Label, part and count of each line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What all parts last told."""

    now: datetime
    parts: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, state: Path, now: datetime | None = None) -> Snapshot:
        found = {part: read_counts(state / part) for part in PARTS}
        return cls(
            now=now or datetime.now(UTC),
            parts={part: told for part, told in found.items() if told is not None},
        )

    def fact(self, part: str, name: str) -> Any:
        """A fact a part told, or None."""
        return self.parts.get(part, {}).get("facts", {}).get(name)

    def is_fresh(self, part: str) -> bool:
        """Whether *part* has told something within the last seconds."""
        told = self.parts.get(part)
        if told is None:
            return False
        return self.now - datetime.fromisoformat(told["update_time"]) < STALE_AFTER

    def numbers(self, part: str, name: str) -> tuple[int, float]:
        """A count and its rate a second."""
        told = self.parts.get(part, {})
        return told.get("counts", {}).get(name, 0), told.get("rates", {}).get(name, 0.0)

    def as_record(self) -> dict[str, object]:
        """All of it, with stable keys, for `--json`."""
        return {
            "time": self.now.isoformat(),
            "parts": {
                part: {
                    "fresh": self.is_fresh(part),
                    "counts": told["counts"],
                    "rates": told["rates"],
                    "facts": told["facts"],
                }
                for part, told in self.parts.items()
            },
        }


def render(snapshot: Snapshot) -> RenderableType:
    """One screen for people."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("a second", justify="right")
    for label, part, name in ROWS:
        count, rate = snapshot.numbers(part, name)
        style = "" if snapshot.is_fresh(part) else "dim"
        table.add_row(label, f"{count:,}", f"{rate:.1f}", style=style)
    lines: list[RenderableType] = [Text(headline(snapshot), style="bold"), table]
    lag, age = snapshot.fact("devices", "lag_p50_s"), snapshot.fact("devices", "inbox_age_p50_s")
    if lag is not None:
        lines.append(
            Text(
                f"half of what happens is on the boards within {lag:.2f} s, in inboxes {age:.2f} s"
            )
        )
    silent = [part for part in PARTS if not snapshot.is_fresh(part)]
    if silent:
        lines.append(Text(f"silent: {', '.join(silent)}", style="yellow"))
    return Group(*lines)


def headline(snapshot: Snapshot) -> str:
    """What time it is in the day, and how fast that runs."""
    state = snapshot.fact("flightinfo", "state") or "not started"
    when = snapshot.fact("flightinfo", "simulated_time")
    if when is None:
        return f"The airport day: {state}"
    at = datetime.fromisoformat(when)
    speed = snapshot.fact("flightinfo", "speed")
    loop = snapshot.fact("flightinfo", "loop")
    return f"New York, {at:%A %d %B %Y, %H:%M}, loop {loop + 1}, {speed:g} times as fast: {state}"
