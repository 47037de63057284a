"""
The running supervisor's door: a Unix socket that takes one JSON line and answers with one.

    {"verb": "status"}                      {"ok": true, "result": {...}}
    {"verb": "restart", "part": "syncd"}    {"ok": false, "problem": "...", "remedy": "..."}

Verbs are `status`, `down` and `restart`. `down` answers once everything has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from meshctl import exits
from meshctl.faults import MeshctlError


LINE_BYTES_MAX = 1_048_576
CONNECTIONS_MAX = 32

Answer = Mapping[str, Any]
Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]


@contextlib.asynccontextmanager
async def served(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer calls at *path* by the handler of their verb, until left."""
    under_way: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            if len(under_way) <= CONNECTIONS_MAX:
                answer = await _answer(await reader.readline(), handlers)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # It hung up, or sent no line; it gets no answer.
        finally:
            under_way.discard(task)
            writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - a name on a local disk
    server = await asyncio.start_unix_server(take, path, limit=LINE_BYTES_MAX)
    path.chmod(0o600)  # noqa: ASYNC240 - as above
    try:
        yield
    finally:
        server.close()
        if under_way:  # Whoever waits for the end is told of it.
            await asyncio.wait(under_way, timeout=1)
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - as above


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> Answer:
    try:
        request = json.loads(line)
        handler = handlers[request["verb"]]
    except (ValueError, KeyError, TypeError):
        return {"ok": False, "problem": "This is no request.", "remedy": ", ".join(handlers)}
    try:
        return {"ok": True, "result": await handler(request)}
    except MeshctlError as error:
        return {
            "ok": False,
            "problem": str(error),
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }


async def call(path: Path, verb: str, timeout_s: float, **words: str) -> Mapping[str, Any]:
    """
    Ask the supervisor at *path*.

    Raises:
        MeshctlError: It isn't there, refused, or took longer than *timeout_s*.

    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
            try:
                writer.write(json.dumps({"verb": verb, **words}).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        raise MeshctlError(
            f"The supervisor gave no answer within {timeout_s:g} s.", exit_code=exits.UNAVAILABLE
        ) from None
    except OSError:
        line = b""
    if not line:
        raise MeshctlError("No mesh runs there.", "meshctl up", exit_code=exits.UNAVAILABLE)
    answer = json.loads(line)
    if not answer["ok"]:
        raise MeshctlError(
            answer["problem"], answer["remedy"], exit_code=answer.get("exit_code", exits.FAILED)
        )
    result: Mapping[str, Any] = answer["result"]
    return result
