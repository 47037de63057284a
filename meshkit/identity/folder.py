"""
An identity on disk, swapped as one.

    <folder>/current -> generation-<n>     a link, replaced by rename
    <folder>/generation-<n>/key.pem        0600
                            /cert.pem      the chain
                            /bundle.pem    trusted roots

A reader that follows `current` (NATS, gRPC's file_watcher, Envoy) never sees a
key beside another key's certificate, and neither does a restart after a crash.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshkit.errors import MeshError
from meshkit.identity.material import KeyMaterial
from meshkit.identity.spiffe import SpiffeId


GENERATIONS_KEPT: Final = 2
"""The current one, and the one before it, which a reader may have open."""

_PREFIX: Final = "generation-"


@dataclass(frozen=True, slots=True)
class IdentityFolder:
    """The folder of one workload's identity. Blocking calls; files are tiny."""

    path: Path

    @property
    def key(self) -> Path:
        """The private key's path, stable over rotations."""
        return self.path / "current" / "key.pem"

    @property
    def chain(self) -> Path:
        """The certificate chain's path, stable over rotations."""
        return self.path / "current" / "cert.pem"

    @property
    def bundle(self) -> Path:
        """The path of the trusted roots, stable over rotations."""
        return self.path / "current" / "bundle.pem"

    def read(self, expected: SpiffeId) -> KeyMaterial | None:
        """Return the stored identity of *expected*; None if there is none that can be used."""
        try:
            return KeyMaterial.checked(
                key_pem=self.key.read_bytes(),
                chain_pem=self.chain.read_bytes(),
                bundle_pem=self.bundle.read_bytes(),
                expected=expected,
            )
        except (OSError, MeshError):
            return None

    def write(self, material: KeyMaterial) -> None:
        """Store *material* durably and make it the current one. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = max(self._generations(), default=0) + 1
        generation = self.path / f"{_PREFIX}{number}"
        generation.mkdir(mode=0o700)
        write_private(generation / "key.pem", material.key_pem)
        write_private(generation / "cert.pem", material.chain_pem)
        write_private(generation / "bundle.pem", material.bundle_pem)
        sync_folder(generation)
        link = self.path / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(generation.name)
        link.replace(self.path / "current")
        sync_folder(self.path)
        for old in self._generations():
            if old <= number - GENERATIONS_KEPT:
                shutil.rmtree(self.path / f"{_PREFIX}{old}", ignore_errors=True)

    def _generations(self) -> list[int]:
        numbers = []
        for entry in self.path.glob(f"{_PREFIX}*"):
            with contextlib.suppress(ValueError):
                numbers.append(int(entry.name.removeprefix(_PREFIX)))
        return numbers


def write_private(path: Path, data: bytes) -> None:
    """Create *path*, readable by its owner alone, with *data* on disk. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_private(path: Path, data: bytes) -> None:
    """Make *data* the content of *path* at once, also over a crash. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    scratch.unlink(missing_ok=True)
    write_private(scratch, data)
    scratch.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in *path* durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
