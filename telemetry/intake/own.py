"""Telemetry's own telemetry: into the log directly, no call, no span about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from telemetry.intake.service import METHODS


if TYPE_CHECKING:
    from meshkit.observability import Send
    from telemetry.intake.intake import Intake


def in_process(intake: Intake) -> Send:
    """
    Return what sends to *intake*, for exporters that run on threads of their own.

    It is called at a bounded rate: metrics each 5 s, spans and logs in batches each second.
    """
    loop = asyncio.get_running_loop()
    signals = {method: signal for signal, method in METHODS.items()}

    def send(path: str, message: bytes, timeout_s: float) -> None:
        accepting = asyncio.run_coroutine_threadsafe(intake.accept(signals[path], message), loop)
        try:
            accepting.result(timeout_s)
        except TimeoutError:
            accepting.cancel()
            raise

    return send
