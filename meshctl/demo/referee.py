"""
Compares the boards on phones with the server's, field by field.

The server's board is read between two looks at its `seq` that agree, so that it is one moment's. A
phone is compared when it stands at that very `seq`; one that is behind is given time to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from aerofusion.sync.v1 import (
    space_service_pb2,
    space_service_pb2_grpc,
    sync_service_pb2,
    sync_service_pb2_grpc,
)
from aerofusion_client import SyncedSpace, Value
from aerofusion_client.values import from_message
from meshctl.demo.board import space_of
from meshctl.demo.edge import Edge
from meshctl.demo.phones import Phone, PhoneMeters


READINGS_MAX = 5
"""How often to try to read a board in one piece before leaving it for the next time."""

BEHIND_MAX_S = 10.0
POLL_S = 0.05

log = structlog.get_logger()

Board = dict[str, dict[str, Value]]


class Verdict(StrEnum):
    """What a comparison came to."""

    EQUAL = "equal"
    DIFFERENT = "different"
    PASSED = "passed"
    """The phone was already further: nothing can be said."""

    AWAY = "away"
    """The phone went offline meanwhile: nothing can be said."""

    BEHIND = "behind"
    """The phone is online and did not come to that place in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A board as the server had it at *seq*."""

    seq: int
    records: Board


class Referee:
    """Compares all phones with the server, through the edge."""

    def __init__(self, tenant: str, edge: Edge, meters: PhoneMeters) -> None:
        self._tenant = tenant
        self._edge = edge
        self._meters = meters
        self._spaces = space_service_pb2_grpc.SpaceServiceStub(edge.channel)
        self._sync = sync_service_pb2_grpc.SyncServiceStub(edge.channel)

    async def compare(self, airport: str, phones: Iterable[Phone]) -> list[Verdict]:
        """Compare the board of *airport* on those of *phones* that are online."""
        online = [phone for phone in phones if phone.is_online and airport in phone.boards]
        if not online:
            return []
        reading = await self.read(airport)
        if reading is None:
            self._meters.counts.add("boards_too_busy")
            return []
        verdicts = await asyncio.gather(*(_judged(phone, airport, reading) for phone in online))
        for phone, verdict in zip(online, verdicts, strict=True):
            self._count(phone, airport, verdict, reading)
        return list(verdicts)

    async def read(self, airport: str) -> Reading | None:
        """The board of *airport* at one moment; None if it never held still."""
        space = f"tenants/{self._tenant}/spaces/{space_of(airport)}"
        seq = await self._seq(space)
        for _ in range(READINGS_MAX):
            records = await self._records(space)
            after = await self._seq(space)
            if after == seq:
                return Reading(seq=seq, records=records)
            seq = after
        return None

    async def _seq(self, space: str) -> int:
        answer = await self._edge.call(
            self._spaces.GetSpace, space_service_pb2.GetSpaceRequest(name=space)
        )
        return int(answer.space.head_seq)

    async def _records(self, space: str) -> Board:
        found: Board = {}
        token = ""
        while True:
            page = await self._edge.call(
                self._sync.ListRecords,
                sync_service_pb2.ListRecordsRequest(parent=space, page_size=1000, page_token=token),
            )
            for record in page.records:
                fields = {cell.field: from_message(cell.value) for cell in record.cells}
                found[record.name.rpartition("/")[2]] = fields
            token = page.next_page_token
            if not token:
                return found

    def _count(self, phone: Phone, airport: str, verdict: Verdict, reading: Reading) -> None:
        counts = self._meters.counts
        match verdict:
            case Verdict.EQUAL:
                counts.add("converged")
                self._meters.converged.add(1, {"airport": airport})
            case Verdict.DIFFERENT:
                counts.add("diverged")
                self._meters.diverged.add(1, {"airport": airport})
                log.error(
                    "board_differs",
                    passenger=phone.owner.passenger,
                    airport=airport,
                    seq=reading.seq,
                    records=differing(phone.boards[airport], reading)[:10],
                )
            case _:
                counts.add(f"boards_{verdict.value}")


async def _judged(phone: Phone, airport: str, reading: Reading) -> Verdict:
    board = phone.boards[airport]
    loop = asyncio.get_running_loop()
    give_up = loop.time() + BEHIND_MAX_S
    while board.cursor < reading.seq or not board.is_synced:
        if not phone.is_online:
            return Verdict.AWAY
        if loop.time() > give_up:
            return Verdict.BEHIND
        await asyncio.sleep(POLL_S)
    if board.cursor > reading.seq:
        return Verdict.PASSED
    return Verdict.EQUAL if board.records() == reading.records else Verdict.DIFFERENT


def differing(board: SyncedSpace, reading: Reading) -> list[str]:
    """Ids of the records that aren't the same on the phone and on the server."""
    here = board.records()
    return sorted(
        record
        for record in here.keys() | reading.records.keys()
        if here.get(record) != reading.records.get(record)
    )
