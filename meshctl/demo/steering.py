"""
The wheel of a running demo: a small file that `meshctl demo` writes and the processes follow.

    {"date": "2013-03-08", "speed": 144, "loops": 0, "passengers": 300, "devices": 20, "nonce": ""}

Each entry is optional; what is absent, or not usable, stays as the process was started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from meshctl.demo.counts import read_json, replace_json
from meshctl.demo.passengers import PASSENGERS_MAX
from meshctl.demo.settings import DEVICES_MAX, SPEED_MAX, SPEED_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What somebody asked for at run time; None where they didn't."""

    date: str | None = None
    speed: float | None = None
    loops: int | None = None
    passengers: int | None = None
    devices: int | None = None
    nonce: str | None = None

    def write(self, path: Path) -> None:
        """Ask for this from now on."""
        asked = {
            name: getattr(self, name)
            for name in ("date", "speed", "loops", "passengers", "devices", "nonce")
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_json(path, {name: value for name, value in asked.items() if value is not None})


def more_tokens_file(steering_file: Path) -> Path:
    """Where the tokens of devices beyond the usual ones are: JSON, subject to token."""
    return steering_file.with_name("tokens.json")


def read_steering(path: Path | None) -> Steering:
    """What is asked for now; nothing if there is no file."""
    found = read_json(path) if path else None
    if not isinstance(found, dict):
        return Steering()
    nonce = found.get("nonce")
    return Steering(
        date=_date(found.get("date")),
        speed=_number(found, "speed", SPEED_MIN, SPEED_MAX),
        loops=_whole(found, "loops", 0, 1_000_000),
        passengers=_whole(found, "passengers", 1, PASSENGERS_MAX),
        devices=_whole(found, "devices", 0, DEVICES_MAX),
        nonce=nonce if isinstance(nonce, str) else None,
    )


def _date(found: object) -> str | None:
    try:
        return date.fromisoformat(found).isoformat() if isinstance(found, str) else None
    except ValueError:
        return None


def _number(found: Mapping[str, object], name: str, least: float, most: float) -> float | None:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if least <= value <= most else None


def _whole(found: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    value = _number(found, name, least, most)
    return int(value) if value is not None and value == int(value) else None
