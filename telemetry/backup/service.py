"""gRPC in, backups out: `aerofusion.telemetry.v1.BackupService`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import backup_service_pb2 as pb
from aerofusion.telemetry.v1 import backup_service_pb2_grpc as pb_grpc
from meshkit import authz


if TYPE_CHECKING:
    import grpc

    from meshkit.serving import GrpcServer
    from telemetry.backup.taking import Backup, Backups

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.BackupService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",))
    for method in ("CreateBackup", "ListBackups")
}
"""Who may call what; telemetry's own table takes these rows in."""


def serve_backups(server: GrpcServer, backups: Backups) -> None:
    """Make *server* take backups."""
    server.add(pb_grpc.add_BackupServiceServicer_to_server, BackupService(backups), SERVICE)


class BackupService(pb_grpc.BackupServiceServicer):
    """Takes backups and lists them."""

    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    async def CreateBackup(  # noqa: N802 - the contract's name
        self, _request: pb.CreateBackupRequest, _context: Context
    ) -> pb.CreateBackupResponse:
        taken = await self._backups.take()
        answer = pb.CreateBackupResponse(
            backup=_backup(taken.backup), copied_bytes=taken.copied_bytes
        )
        answer.duration.FromTimedelta(timedelta(seconds=taken.seconds))
        return answer

    async def ListBackups(  # noqa: N802 - the contract's name
        self, _request: pb.ListBackupsRequest, _context: Context
    ) -> pb.ListBackupsResponse:
        return pb.ListBackupsResponse(backups=map(_backup, await self._backups.all()))


def _backup(one: Backup) -> pb.Backup:
    told = pb.Backup(name=one.folder.name, folder=str(one.folder), size_bytes=one.size_bytes)
    told.time.FromNanoseconds(one.time_ns)
    return told
