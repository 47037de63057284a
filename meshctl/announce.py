"""Hears from one child when it is ready, by systemd's sd_notify protocol."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import TracebackType
from typing import Self


MESSAGE_BYTES_MAX = 4096


class Announcements:
    """
    A datagram socket that one child writes to; its path goes into `NOTIFY_SOCKET`.

    A child that runs under another user couldn't write here: none such does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, str] = {}
        """What came along with READY=1, such as `port`."""
        self._ready = asyncio.Event()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o600)

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    async def wait_ready(self) -> None:
        await self._ready.wait()

    def _hear(self) -> None:
        lines = self._socket.recv(MESSAGE_BYTES_MAX).decode(errors="replace").split("\n")
        if "READY=1" not in lines:
            return
        for line in lines:
            name, _, value = line.partition("=")
            if name.startswith("X_"):
                self.facts[name.removeprefix("X_").lower()] = value
        self._ready.set()
