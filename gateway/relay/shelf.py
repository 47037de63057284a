"""
The last configuration that Envoy acknowledged, in memory and on disk.

    <folder>/packs/<sha256>       some resources of one type, a DeltaDiscoveryResponse
    <folder>/manifest-<n>         share of a type to pack; its own SHA-256 is the last line

Packs are named by content and never changed. A manifest is written only after its packs
are on disk. What is read must match its hash; else the manifest before it is taken, so
a torn write, a flipped bit or a lost file costs one generation at most.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from google.protobuf.message import DecodeError
from opentelemetry import metrics

from gateway.relay.messages import parse_answer, serialise_answer
from gateway.relay.session import Answer, Item
from meshkit.identity.folder import replace_private, sync_folder


if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = structlog.get_logger(__name__)

GENERATIONS_KEPT: Final = 3
SHARES: Final = 16
"""A type's resources are divided among so many packs: a change writes one of them anew."""

PACK_BYTES_MAX: Final = 32 * 1024 * 1024
"""Largest share of a type that is kept; a larger one is served, not stored."""

_PREFIX: Final = "manifest-"

Tables = dict[str, dict[str, Item]]
Share = str
"""A type and the number of one of its shares, as in a manifest."""


class Shelf:
    """
    Kept resources. `tables` is for reading; `keep` and `keep_only` change it.

    Args:
        folder: Private to the relay; made if it isn't there.
        pause: How long `run` rests after it has saved: what comes meanwhile is saved as one.

    """

    def __init__(self, folder: Path, *, pause: timedelta = timedelta(0)) -> None:
        self._folder = folder
        self._pause_s = pause.total_seconds()
        self._dirty = asyncio.Event()
        self._saved: dict[str, str] = {}
        self._stale: set[Share] = set()
        self._members: dict[Share, dict[str, Item]] = {}
        self._generation = 0
        self._writing = threading.Lock()
        self._damaged = metrics.get_meter("gateway").create_counter(
            "relay.generations.damaged",
            unit="{generation}",
            description="Stored configurations that did not match their checksums",
        )
        self.tables: Tables = {}

    def load(self) -> None:
        """Take up the newest good generation on disk; none is no error. Raises OSError."""
        (self._folder / "packs").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for number in sorted(self._generations(), reverse=True):
            self._generation = max(self._generation, number)
            try:
                packs = self._read_manifest(number)
                found = {share: self._read_pack(pack) for share, pack in packs.items()}
            except (OSError, ValueError) as error:
                self._damaged.add(1)
                log.error(  # noqa: TRY400 - it is handled: the one before is taken
                    "relay.generation_damaged", generation=number, error=str(error)
                )
                continue
            self._saved = packs
            for share, members in found.items():
                type_url = share.partition("#")[0]
                if share == type_url:  # As it was written before types were divided.
                    del self._saved[share]
                self.keep(type_url, members.values(), ())
            self._stale = {share for share in self._members if share not in self._saved}
            log.info(
                "relay.generation_loaded",
                generation=number,
                resources={url: len(table) for url, table in self.tables.items()},
            )
            return

    def keep(self, type_url: str, items: Iterable[Item], removed: Iterable[str]) -> None:
        """Put *items* on the shelf in place of their namesakes, and take *removed* off it."""
        table = self.tables.setdefault(type_url, {})
        stale = set()
        for item in items:
            share = _share(type_url, item.name)
            if table.get(item.name) != item:
                stale.add(share)
            table[item.name] = item
            self._members.setdefault(share, {})[item.name] = item
        for name in removed:
            if table.pop(name, None) is not None:
                share = _share(type_url, name)
                del self._members[share][name]
                stale.add(share)
        self._stale |= stale
        if stale:
            self._dirty.set()

    def keep_only(self, type_url: str, names: frozenset[str]) -> None:
        """Take all but *names* off the shelf."""
        table = self.tables.get(type_url, {})
        surplus = table.keys() - names
        if surplus:
            self.keep(type_url, (), surplus)

    async def run(self) -> None:
        """Write changes to disk as they come, several at once if need be, until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.save()
            except OSError as error:
                log.error("relay.save_failed", error=str(error))  # noqa: TRY400 - told, and retried
                self._dirty.set()
                await asyncio.sleep(1.0)
            await asyncio.sleep(self._pause_s)  # paces

    async def save(self) -> None:
        """Make the shelf as it is now durable. Raises OSError."""
        stale, self._stale = self._stale, set()
        # With nothing stale it still waits for a save that was cancelled.
        changed = {share: tuple(self._members[share].values()) for share in stale}
        try:
            await asyncio.to_thread(self._write, changed)
        except OSError:
            self._stale |= stale
            raise

    def _write(self, changed: dict[Share, tuple[Item, ...]]) -> None:
        with self._writing:  # A save that was cancelled goes on in its thread.
            self._write_generation(changed)

    def _write_generation(self, changed: dict[Share, tuple[Item, ...]]) -> None:
        packs = dict(self._saved)
        for share, items in changed.items():
            type_url = share.partition("#")[0]
            ordered = tuple(sorted(items, key=lambda item: item.name))
            if sum(len(item.body) for item in ordered) > PACK_BYTES_MAX:
                log.error("relay.share_too_large", share=share, bytes_max=PACK_BYTES_MAX)
                continue
            data = serialise_answer(Answer(type_url=type_url, nonce="", items=ordered))
            packs[share] = hashlib.sha256(data).hexdigest()
            path = self._folder / "packs" / packs[share]
            if not path.exists():
                replace_private(path, data)
        if packs == self._saved:
            return
        number = self._generation + 1
        body = json.dumps({"packs": packs}, sort_keys=True)
        digest = hashlib.sha256(body.encode()).hexdigest()
        replace_private(self._folder / f"{_PREFIX}{number}", f"{body}\n{digest}\n".encode())
        self._generation, self._saved = number, packs
        self._forget(number - GENERATIONS_KEPT)

    def _forget(self, last: int) -> None:
        """Remove the generations up to *last*, and packs that no other needs."""
        needed: set[str] = set()
        for number in self._generations():
            if number <= last:
                (self._folder / f"{_PREFIX}{number}").unlink(missing_ok=True)
                continue
            try:
                needed.update(self._read_manifest(number).values())
            except (OSError, ValueError):
                continue
        for path in (self._folder / "packs").iterdir():
            if path.name not in needed:
                path.unlink(missing_ok=True)
        sync_folder(self._folder)

    def _generations(self) -> list[int]:
        names = (path.name.removeprefix(_PREFIX) for path in self._folder.glob(f"{_PREFIX}*"))
        return [int(name) for name in names if name.isdecimal()]

    def _read_manifest(self, number: int) -> dict[str, str]:
        body, _, digest = (
            (self._folder / f"{_PREFIX}{number}").read_text("ascii").rstrip("\n").rpartition("\n")
        )
        if hashlib.sha256(body.encode()).hexdigest() != digest:
            raise ValueError("the manifest's checksum is wrong")
        packs: dict[str, str] = json.loads(body)["packs"]
        return packs

    def _read_pack(self, digest: str) -> dict[str, Item]:
        data = (self._folder / "packs" / digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"the checksum of pack {digest} is wrong")
        try:
            return {item.name: item for item in parse_answer(data).items}
        except DecodeError as error:
            raise ValueError(f"pack {digest} cannot be read") from error


def _share(type_url: str, name: str) -> Share:
    return f"{type_url}#{zlib.crc32(name.encode()) % SHARES}"
