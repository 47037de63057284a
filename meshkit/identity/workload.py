"""
The present process as a member of the mesh: what it shows, whom it believes, and renewal.

            stored and good                                   half of the life over
    open ────────────────────▶ HOLDS ──────────────────────────────────▶ RENEWING
      │ else: join file        ▲  ▲ new certificate, new key                │ │
      └──▶ JOINING ────────────┘  └─────────────────────────────────────────┘ │ fault
                                  ▲─────── try again, backing off ◀───────────┘
"""

from __future__ import annotations

import asyncio
import random
import weakref
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, Self

import grpc
import grpc.aio
import structlog

from meshkit.errors import FailedPrecondition, MeshError
from meshkit.identity import contexts
from meshkit.identity.channel import RotatingChannel, RotatingSyncChannel
from meshkit.identity.folder import IdentityFolder, replace_private
from meshkit.identity.join import Certificates, JoinFile, join, renew
from meshkit.identity.material import KeyMaterial, new_key_pem, workload_request_pem
from meshkit.identity.spiffe import SpiffeId, dns_name


if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    Renewer = Callable[[bytes], Awaitable[Certificates]]

log = structlog.get_logger(__name__)

LIFE_LEFT_MIN: Final = timedelta(minutes=2)
"""A stored identity with less than this is not worth starting with."""
RENEW_AT: Final = 0.5
"""Share of the lifetime after which a new certificate is asked for."""
RENEW_JITTER: Final = 0.1
"""Most by which that share is moved, so that replicas don't come all at once."""
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
CLOCK_CHECK_S: Final = 60.0
"""Longest sleep before the clock is read again; machines are suspended and set."""


class IdentitySettings(Protocol):
    """The part of a service's settings that `Workload.open` reads."""

    @property
    def gateway_address(self) -> str: ...
    @property
    def identity_dir(self) -> Path: ...
    @property
    def join_file(self) -> Path | None: ...
    @property
    def replica(self) -> str: ...


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Workload:
    """
    The identity of this process. Safe to share between tasks and threads.

    Made directly from PEM it is as checked as one from disk, and never renewed
    unless *renewer* is given.

    Args:
        folder: Where each new identity is stored; None stores nothing.
        renewer: Trades a signing request (PEM) for the next certificate.

    Raises:
        FailedPrecondition: IDENTITY_UNUSABLE, if the parts don't fit together.

    """

    def __init__(
        self,
        *,
        spiffe_id: SpiffeId,
        key_pem: bytes,
        chain_pem: bytes,
        bundle_pem: bytes,
        folder: IdentityFolder | None = None,
        renewer: Renewer | None = None,
    ) -> None:
        self._material = KeyMaterial.checked(
            key_pem=key_pem, chain_pem=chain_pem, bundle_pem=bundle_pem, expected=spiffe_id
        )
        self._folder = folder
        self._renewer = renewer
        self._generation = 0
        self._changed = asyncio.Event()
        self._contexts: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()

    @classmethod
    async def open(
        cls,
        settings: IdentitySettings,
        service: str,
        *,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Self:
        """
        Take up the identity of *service*: the stored one while it is good, else join.

        The join file is removed once it is of no more use. A stored identity that
        the join file's roots don't vouch for belongs to another mesh and is replaced.

        Raises:
            FailedPrecondition: IDENTITY_MISSING: nothing good stored, no join file;
                JOIN_FILE_UNUSABLE.
            MeshError: The gateway refused, or stayed away.

        """
        spiffe_id = SpiffeId(service, settings.replica)
        folder = IdentityFolder(settings.identity_dir)
        ticket = _read_ticket(settings.join_file, spiffe_id)
        material = folder.read(spiffe_id)
        if material is not None and not _is_good(material, ticket, clock()):
            material = None
        if material is None and ticket is None:
            raise FailedPrecondition(
                "IDENTITY_MISSING",
                f"{folder.path} holds no good certificate of {spiffe_id}, "
                "and there is no join token; ask an operator for one.",
                spiffe_id=str(spiffe_id),
            )
        if material is None:
            assert ticket is not None, "refused above"
            material = await _joined(folder, ticket, sleep)
        if settings.join_file is not None:
            settings.join_file.unlink(missing_ok=True)
        workload = cls(
            spiffe_id=spiffe_id,
            key_pem=material.key_pem,
            chain_pem=material.chain_pem,
            bundle_pem=material.bundle_pem,
            folder=folder,
        )
        workload._renewer = _GatewayRenewer(workload, settings.gateway_address)
        return workload

    @property
    def spiffe_id(self) -> SpiffeId:
        """Who this process is."""
        return self._material.spiffe_id

    @property
    def material(self) -> KeyMaterial:
        """Key, certificate and roots as they are now."""
        return self._material

    @property
    def folder(self) -> IdentityFolder | None:
        """The files of this identity, kept current, for what reads files."""
        return self._folder

    @property
    def generation(self) -> int:
        """How many rotations there have been."""
        return self._generation

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials that demand a client certificate and follow rotations."""
        return self._server_credentials(require_client=True)

    def join_credentials(self) -> grpc.ServerCredentials:
        """As `server_credentials`, but clients show nothing: for the Join port alone."""
        return self._server_credentials(require_client=False)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return a client's credentials as they are now; they don't rotate."""
        material = self._material
        return grpc.ssl_channel_credentials(
            material.bundle_pem, material.key_pem, material.chain_pem
        )

    def channel(
        self,
        target: str,
        service: str = "gateway",
        options: Sequence[tuple[str, object]] = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> grpc.aio.Channel:
        """Return a channel to *service* at *target*, and to nobody else, that follows rotations."""

        def connect() -> grpc.aio.Channel:
            return grpc.aio.secure_channel(
                target,
                self.channel_credentials(),
                options=[*options, ("grpc.ssl_target_name_override", dns_name(service))],
                interceptors=list(interceptors),
            )

        return RotatingChannel(self, connect)

    def sync_channel(
        self, target: str, service: str = "gateway", options: Sequence[tuple[str, object]] = ()
    ) -> grpc.Channel:
        """As `channel`, for synchronous stubs."""

        def connect() -> grpc.Channel:
            return grpc.secure_channel(
                target,
                self.channel_credentials(),
                options=[*options, ("grpc.ssl_target_name_override", dns_name(service))],
            )

        return RotatingSyncChannel(self, connect)

    def server_ssl_context(self) -> ssl.SSLContext:
        """Return a TLS 1.3 context that demands a client certificate and follows rotations."""
        context = contexts.server_context(self._material)
        self._contexts.add(context)
        return context

    def client_ssl_context(self, service: str) -> ssl.SSLContext:
        """Return a TLS 1.3 context that talks to *service* alone and follows rotations."""
        context = contexts.client_context(self._material, service)
        self._contexts.add(context)
        return context

    async def rotation(self) -> None:
        """Return once the identity has changed after this call."""
        await self._changed.wait()

    async def renew(self) -> None:
        """
        Replace key and certificate now.

        Raises:
            FailedPrecondition: IDENTITY_NOT_RENEWABLE: a static identity.
            MeshError: The gateway refused or is away; the present identity stays.

        """
        if self._renewer is None:
            raise FailedPrecondition(
                "IDENTITY_NOT_RENEWABLE", "This identity was given, not issued."
            )
        key_pem = await asyncio.to_thread(new_key_pem)
        answer = await self._renewer(workload_request_pem(key_pem, self.spiffe_id))
        self.replace(
            KeyMaterial.checked(
                key_pem=key_pem,
                chain_pem=answer.chain_pem,
                bundle_pem=answer.bundle_pem,
                expected=self.spiffe_id,
            )
        )

    def replace(self, material: KeyMaterial) -> None:
        """Make *material* this process's identity, on disk too. Raises OSError."""
        assert material.spiffe_id == self.spiffe_id, "a process keeps its name"
        if self._folder is not None:
            self._folder.write(material)
        self._material = material
        self._generation += 1
        for context in list(self._contexts):
            contexts.load(context, material)
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(
        self,
        *,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        Renew at half of each certificate's life until cancelled; faults are retried.

        Args:
            chance: Gives numbers in [0, 1), for the jitter.

        """
        if self._renewer is None:
            await asyncio.get_running_loop().create_future()
        retry_s = RETRY_FIRST_S
        renew_time = renewal_time(self._material, chance())
        while True:
            left_s = (renew_time - clock()).total_seconds()
            if left_s > 0:
                await sleep(min(left_s, CLOCK_CHECK_S))
                continue
            try:
                await self.renew()
            except (MeshError, OSError) as error:
                log.warning("identity.renewal_failed", error=str(error), retry_s=retry_s)
                await sleep(retry_s * (1 + RENEW_JITTER * chance()))
                retry_s = min(2 * retry_s, RETRY_MAX_S)
                continue
            retry_s = RETRY_FIRST_S
            renew_time = renewal_time(self._material, chance())
            log.info("identity.renewed", not_after=self._material.not_after.isoformat())

    def _server_credentials(self, *, require_client: bool) -> grpc.ServerCredentials:
        served = self._generation

        def current() -> grpc.ServerCertificateConfiguration:
            material = self._material
            return grpc.ssl_server_certificate_configuration(
                [(material.key_pem, material.chain_pem)], material.bundle_pem
            )

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            if served == self._generation:
                return None
            served = self._generation
            return current()

        return grpc.dynamic_ssl_server_credentials(
            current(),
            fetch,  # type: ignore[arg-type]  # None is "no change" in grpc's own words
            require_client_authentication=require_client,
        )


def renewal_time(material: KeyMaterial, chance: float) -> datetime:
    """Return when to renew: at half of the life, moved by at most a tenth of it."""
    share = RENEW_AT + RENEW_JITTER * (2 * chance - 1)
    return material.not_before + (material.not_after - material.not_before) * share


class _GatewayRenewer:
    """Renews over mTLS, with the identity that is to be renewed."""

    def __init__(self, workload: Workload, address: str) -> None:
        self._workload = weakref.proxy(workload)
        self._address = address

    async def __call__(self, csr_pem: bytes) -> Certificates:
        async with self._workload.channel(self._address) as channel:
            return await renew(channel, csr_pem)


def _read_ticket(path: Path | None, expected: SpiffeId) -> JoinFile | None:
    if path is None or not path.exists():
        return None
    ticket = JoinFile.read(path)
    if ticket.spiffe_id != expected:
        raise FailedPrecondition(
            "JOIN_FILE_UNUSABLE",
            f"{path} admits {ticket.spiffe_id}, this process is {expected}.",
            path=str(path),
        )
    return ticket


def _is_good(material: KeyMaterial, ticket: JoinFile | None, now: datetime) -> bool:
    if not material.not_before <= now < material.not_after - LIFE_LEFT_MIN:
        return False
    return ticket is None or material.trusted_by(ticket.bundle_pem)


async def _joined(
    folder: IdentityFolder, ticket: JoinFile, sleep: Callable[[float], Awaitable[None]]
) -> KeyMaterial:
    """Join with a key that survives a crash: the token is bound to the first one it sees."""
    pending = folder.path / "joining.pem"
    try:
        key_pem = pending.read_bytes()
        csr_pem = workload_request_pem(key_pem, ticket.spiffe_id)
    except (OSError, ValueError, TypeError):
        key_pem = new_key_pem()
        csr_pem = workload_request_pem(key_pem, ticket.spiffe_id)
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(pending, key_pem)
    answer = await join(ticket, csr_pem, sleep=sleep)
    material = KeyMaterial.checked(
        key_pem=key_pem,
        chain_pem=answer.chain_pem,
        bundle_pem=answer.bundle_pem,
        expected=ticket.spiffe_id,
    )
    folder.write(material)
    pending.unlink(missing_ok=True)
    return material
