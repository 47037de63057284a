"""The edge as a client of the mesh sees it: one TLS connection, a token, patience."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import structlog
from opentelemetry import metrics
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from meshctl.demo.counts import read_json
from meshctl.demo.patience import Wait, reaction
from meshkit.errors import MeshError
from meshkit.status import from_rpc_error


OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

log = structlog.get_logger()

Answer = TypeVar("Answer")


class Refused(Exception):
    """A call can't succeed as it stands. `reason` says why, `code` is its status."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str) -> None:
        super().__init__(f"{code.name} {reason}: {message}")
        self.code = code
        self.reason = reason


class TokenFile:
    """A token that somebody else renews in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = -1
        self._token = ""

    def __call__(self) -> str:
        """The token as it is now; the last one known while the file is missing."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._seen:
                self._token = self._path.read_text(encoding="ascii").strip()
                self._seen = changed
        except OSError as error:
            log.warning("token_file_unreadable", path=str(self._path), error=str(error))
        return self._token


class TokensFile:
    """The tokens of several callers, by subject, that somebody else renews in JSON files."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: dict[Path, int] = {}
        self._tokens: dict[Path, dict[str, str]] = {}

    def read(self) -> dict[str, str]:
        """The tokens as they are now; where two files name a subject, the first one counts."""
        for path in self._paths:
            try:
                changed = path.stat().st_mtime_ns
            except OSError:
                continue
            if changed != self._seen.get(path):
                found = read_json(path)
                if isinstance(found, dict):
                    self._tokens[path] = {str(who): str(token) for who, token in found.items()}
                    self._seen[path] = changed
        merged: dict[str, str] = {}
        for path in reversed(self._paths):
            merged.update(self._tokens.get(path, {}))
        return merged

    def token(self, subject: str) -> str:
        """The token of *subject*, empty if there is none."""
        return self.read().get(subject, "")


def phone_channel(address: str, ca_file: Path) -> grpc.aio.Channel:
    """A connection to the edge that is shared with nobody, as a phone has one."""
    return grpc.aio.secure_channel(
        address,
        grpc.ssl_channel_credentials(ca_file.read_bytes()),
        options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)],
    )


def edge_channel(address: str, ca_file: Path) -> grpc.aio.Channel:
    """A connection to the edge whose unary calls are traced. The caller closes it."""
    # A span of a stream is written when it ends, which may be hours later; leave those out.
    unary = [
        one
        for one in aio_client_interceptors()  # type: ignore[no-untyped-call]
        if isinstance(one, grpc.aio.UnaryUnaryClientInterceptor)
    ]
    return grpc.aio.secure_channel(
        address,
        grpc.ssl_channel_credentials(ca_file.read_bytes()),
        options=OPTIONS,
        interceptors=unary,
    )


class Edge:
    """
    Makes calls through the edge until they succeed or can't.

    Waits as long as it takes while a part of the mesh is away; cancel it to stop.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: Callable[[], str],
        call_timeout: timedelta,
        on_retry: Callable[[str], None] = lambda _reason: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.channel = channel
        self._token = token
        self._timeout_s = call_timeout.total_seconds()
        self._on_retry = on_retry
        self._chance = chance
        self._retries = metrics.get_meter("demo").create_counter(
            "demo.retries",
            unit="{retry}",
            description="Calls through the edge that are made again, by reason",
        )

    async def call(self, method: Callable[..., Any], request: object) -> Any:
        """
        Return the answer of *method*, a unary call of a stub made with `channel`.

        Raises:
            Refused: Repeating the call is of no use.

        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await method(
                    request,
                    timeout=self._timeout_s,
                    metadata=(("authorization", f"Bearer {self._token()}"),),
                )
            except grpc.aio.AioRpcError as failure:
                error = from_rpc_error(failure)
                reason = error.reason if error else failure.code().name
                decision = reaction(failure.code(), error, attempt=attempt, chance=self._chance())
                if not isinstance(decision, Wait):
                    raise refused(failure, error) from failure
                self._note(reason, attempt, failure)
                await asyncio.sleep(decision.span.total_seconds())

    def _note(self, reason: str, attempt: int, failure: grpc.aio.AioRpcError) -> None:
        self._retries.add(1, {"reason": reason})
        self._on_retry(reason)
        if attempt in (3, 30) or attempt % 300 == 0:
            log.warning("call_repeated", reason=reason, attempt=attempt, said=failure.details())


def refused(failure: grpc.aio.AioRpcError, error: MeshError | None) -> Refused:
    reason = error.reason if error else failure.code().name
    return Refused(failure.code(), reason, failure.details() or "")
