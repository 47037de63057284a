"""The command of a service: arguments, environment, signals, exit codes."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog
import uvloop

from meshkit import logs, readiness
from meshkit.errors import MeshError
from meshkit.serving import ListenFailed
from meshkit.settings import InvalidSettings, MeshSettings, load


EX_CONFIG = 78
"""As in sysexits.h: the configuration is at fault; starting again won't help."""
EX_SOFTWARE = 70
"""As in sysexits.h: a bug; the log has its trace."""
EX_UNAVAILABLE = 69
"""As in sysexits.h: something this needs is away or taken; starting again may help."""

S = TypeVar("S", bound=MeshSettings)
S_contra = TypeVar("S_contra", bound=MeshSettings, contravariant=True)

log = structlog.get_logger()


class Serve(Protocol[S_contra]):
    """A service's `app.serve`."""

    def __call__(
        self,
        settings: S_contra,
        *,
        stop: asyncio.Event,
        started: asyncio.Future[int] | None = None,
    ) -> Awaitable[None]:
        """Run until *stop* is set; *started* receives the bound port."""
        ...


def run_service(
    name: str,
    kind: type[S],
    serve: Serve[S],
    argv: list[str] | None = None,
    *,
    prefix: str | None = None,
) -> int:
    """
    Run `<name> serve` or `<name> check-config`; return the exit code.

    Exit codes: 0 stopped by a signal or the configuration is good, 78 the configuration
    is at fault (all problems on stderr), 69 something needed is away or taken, 70 a bug.
    """
    parser = argparse.ArgumentParser(prog=name)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run until SIGTERM or SIGINT")
    commands.add_parser("check-config", help="read the settings, report problems, exit")
    args = parser.parse_args(argv)
    try:
        settings = load(kind, prefix=prefix or name.upper(), environ=os.environ)
    except InvalidSettings as error:
        sys.stderr.write(f"{name}: invalid configuration\n{error}\n")
        return EX_CONFIG
    if args.command == "check-config":
        return 0
    logs.configure(name, settings.log_level)
    try:
        uvloop.run(until_signal(lambda stop, started: serve(settings, stop=stop, started=started)))
    except (ListenFailed, MeshError, BaseExceptionGroup) as raised:
        for cause in _leaves(raised):
            log.error("cannot_serve", error=str(cause))  # noqa: TRY400 - the text says it all
        return EX_UNAVAILABLE
    return 0


async def until_signal(
    serve: Callable[[asyncio.Event, asyncio.Future[int]], Awaitable[None]],
) -> None:
    """Run *serve*, setting its stop event at SIGTERM or SIGINT; report readiness."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    started: asyncio.Future[int] = loop.create_future()

    def tell(bound: asyncio.Future[int]) -> None:
        if not bound.cancelled():
            readiness.ready(port=bound.result())

    def end() -> None:
        readiness.stopping()
        stop.set()

    started.add_done_callback(tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        await serve(stop, started)
    except BaseException as raised:
        if _is_expected(raised):
            raise
        log.exception("crashed")
        sys.stderr.flush()
        # What else runs in this process may never end by itself; whoever started it
        # starts it again, and what was acknowledged is on disk.
        os._exit(EX_SOFTWARE)
    finally:
        started.cancel()


def _is_expected(raised: BaseException) -> bool:
    return all(isinstance(leaf, ListenFailed | MeshError) for leaf in _leaves(raised))


def _leaves(raised: BaseException) -> list[BaseException]:
    if not isinstance(raised, BaseExceptionGroup):
        return [raised]
    return [leaf for inner in raised.exceptions for leaf in _leaves(inner)]
