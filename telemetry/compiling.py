"""
Compiling before the first start, in a process of its own.

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
    Have all machine code on disk; return whether to go on.

    Args:
        stop: Set, it ends the compiling at once; what is compiled by then stays.

    """
    if cache.is_whole():
        return not stop.is_set()
    log.info("compiling")
    process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
        [sys.executable, "-m", "telemetry.warm"], stdin=subprocess.DEVNULL, process_group=0
    )
    ended = asyncio.create_task(asyncio.to_thread(process.wait))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # With those that compile for it.
        stopped.cancel()
        await asyncio.wait({ended, stopped})
    if not stop.is_set() and process.returncode != 0:
        # It is compiled on the way then, as each function is needed.
        log.warning("not_compiled", code=process.returncode)
    return not stop.is_set()
