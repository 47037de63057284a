"""Whose a device is: its id names mutations, so nobody else may use it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from meshkit.authz import Caller
from meshkit.errors import PermissionDenied
from syncd import rules


KNOWN_MAX = 50_000


class OwnsDevices(Protocol):
    """Where owners are kept."""

    async def owner(self, tenant: str, device: str, subject: str) -> str: ...


class Devices:
    """Checks devices; an owner never changes, so what is known stays known."""

    def __init__(self, store: OwnsDevices) -> None:
        self._store = store
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def claim(self, caller: Caller, device: str) -> None:
        """
        Make *device* the caller's if it is nobody's yet.

        Raises:
            InvalidInput: It is no device id.
            PermissionDenied: It is someone else's.

        """
        rules.check_device_id(device)
        key = (caller.tenant, device)
        owner = self._known.get(key)
        if owner is None:
            owner = await self._store.owner(caller.tenant, device, caller.subject)
            self._known[key] = owner
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        if owner != caller.subject:
            raise PermissionDenied(
                "DEVICE_NOT_YOURS",
                "Another subject uses this device id; choose a new one.",
                device=device,
            )
