"""
Compiling at the first start, in a process of its own.

It takes half a minute and half a gigabyte, once on a machine. A process can be ended at any
moment and gives its memory back; a thread that compiles can't be, and doesn't.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import structlog

from telemetry.scan import cache


log = structlog.get_logger()


async def compiled(stop: asyncio.Event) -> bool:
    """
    Have on disk what a start needs; return whether to go on.

    Args:
        stop: Set, it ends the compiling at once; what is compiled by then stays.

    """
    if cache.is_whole():
        return not stop.is_set()
    log.info("compiling")
    compiling = asyncio.create_task(_compile("first"))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({compiling, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        compiling.cancel()
        stopped.cancel()
        await asyncio.wait({compiling, stopped})
    return not stop.is_set()


async def compile_rest() -> None:
    """Have all the rest on disk, too. Cancelled, it ends at once."""
    if not cache.is_whole():
        await _compile("beside")


async def _compile(*words: str) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
        [sys.executable, "-m", "telemetry.warm", *words],
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    ending = asyncio.create_task(asyncio.to_thread(process.wait))
    try:
        await asyncio.shield(ending)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # With those that compile for it.
        await asyncio.wait({ending})
    if process.returncode:
        # It is compiled on the way then, as each function is needed.
        log.warning("not_compiled", code=process.returncode)
