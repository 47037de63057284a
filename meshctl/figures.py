"""What the mesh as a whole is doing, in a few figures asked of our own telemetry."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import math
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode


ASK_INTERVAL_S = 5.0
ANSWER_WITHIN_S = 3.0
ANSWER_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number on the screen."""

    name: str
    query: str
    """PromQL that gives one sample, or none."""


FIGURES = (
    Figure(name="calls/s", query="sum(rate(rpc_server_call_duration_seconds_count[1m]))"),
    Figure(name="notifications/s", query="sum(rate(notifier_notifications_accepted_total[1m]))"),
    Figure(name="deliveries/s", query="sum(rate(notifier_deliveries_total[1m]))"),
    Figure(name="inbox streams", query="sum(notifier_inbox_streams)"),
    Figure(name="changes/s", query="sum(rate(syncd_mutations_total[1m]))"),
    Figure(name="sync sessions", query="sum(syncd_sessions)"),
    Figure(name="telemetry items/s", query="sum(rate(telemetry_items_received_total[1m]))"),
    Figure(name="series", query="sum(telemetry_series)"),
)
"""Asked for in this order, and shown in it. To add one, add a row."""


class Figures:
    """The figures as they were told last. `run` keeps them current."""

    def __init__(self, telemetry: Path) -> None:
        self._telemetry = telemetry
        self.known: dict[str, float] = {}

    async def run(self) -> None:
        """Ask every few seconds until cancelled; who doesn't answer is asked again."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self.known = await asyncio.to_thread(ask, self._telemetry)
            await asyncio.sleep(ASK_INTERVAL_S)


def ask(telemetry: Path) -> dict[str, float]:
    """
    The figures that telemetry has, by name; those without data are left out. Blocks.

    Args:
        telemetry: Unix socket of its HTTP API.

    Raises:
        OSError, http.client.HTTPException, ValueError: It gave no answer, or none that can be read.

    """
    found = {}
    connection = _Connection(telemetry)
    try:
        for figure in FIGURES:
            connection.request("GET", f"/api/v1/query?{urlencode({'query': figure.query})}")
            answer = json.loads(connection.getresponse().read(ANSWER_BYTES_MAX))
            if (number := _number(answer)) is not None:
                found[figure.name] = number
    finally:
        connection.close()
    return found


def _number(answer: object) -> float | None:
    try:
        (sample,) = answer["data"]["result"]  # type: ignore[index]  # refused below if it isn't so
        number = float(sample["value"][1])
    except (KeyError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("telemetry", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
