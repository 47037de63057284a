"""What a part of the demo counts, in a small file that `meshctl status` and `meshctl demo` show."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


COUNTS_FILE = "counts.json"
RATE_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class Counts:
    """
    Counters since the process started, their rates of the last seconds, and a few facts.

    The file holds `part`, `update_time` (RFC 3339), `counts` (name to number), `rates` (name to
    number a second) and `facts` (name to text or number).
    """

    part: str
    folder: Path
    _counts: Counter[str] = field(default_factory=Counter)
    _history: deque[tuple[datetime, dict[str, int]]] = field(default_factory=deque)

    def add(self, name: str, number: int = 1) -> None:
        """Count *number* more of *name*."""
        self._counts[name] += number

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def write(self, now: datetime, **facts: str | float | bool) -> None:
        """Replace the file with what was counted up to *now*."""
        counts = dict(sorted(self._counts.items()))
        self._history.append((now, counts))
        while (now - self._history[0][0]).total_seconds() > RATE_SECONDS:
            self._history.popleft()
        since, before = self._history[0]
        seconds = (now - since).total_seconds()
        rates = {
            name: round((number - before.get(name, 0)) / seconds, 2) if seconds else 0.0
            for name, number in counts.items()
        }
        replace_json(
            self.folder / COUNTS_FILE,
            {
                "part": self.part,
                "update_time": now.isoformat(),
                "counts": counts,
                "rates": rates,
                "facts": facts,
            },
        )


class Recent:
    """The last values of something, for a quick look; telemetry has the whole distribution."""

    def __init__(self, most: int = 500) -> None:
        self._values: deque[float] = deque(maxlen=most)

    def add(self, value: float) -> None:
        """Remember *value*, and forget the oldest if there are too many."""
        self._values.append(value)

    def quantile(self, share: float) -> float:
        """The value that *share* (0 to 1) of the last ones don't exceed; 0.0 without any."""
        ordered = sorted(self._values)
        if not ordered:
            return 0.0
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def read_counts(folder: Path) -> dict[str, object] | None:
    """What the part with this state folder has counted, or None if it never wrote anything."""
    found = read_json(folder / COUNTS_FILE)
    return found if isinstance(found, dict) else None


def replace_json(path: Path, content: object) -> None:
    """Write *content* so that a reader, or a crash, sees the old file or the new one, whole."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True), encoding="utf-8")
    fresh.replace(path)


def read_json(path: Path) -> object:
    """The content of a JSON file, or None if there is none, or none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
