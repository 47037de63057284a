"""Tells the supervisor how the process stands, by systemd's sd_notify protocol."""

from __future__ import annotations

import os
import socket


def ready(**facts: object) -> None:
    """
    Say that the process serves. *facts*, such as `port=8443`, go along as `X_PORT=8443`.

    Does nothing if nobody asked (`NOTIFY_SOCKET` is unset).
    """
    extra = "".join(f"\nX_{name.upper()}={value}" for name, value in facts.items())
    _send(f"READY=1{extra}")


def stopping() -> None:
    """Say that the process drains and will exit."""
    _send("STOPPING=1")


def _send(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(message.encode(), address)
        except OSError:
            # The supervisor is gone; serving goes on without it.
            return
