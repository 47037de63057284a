"""Prepares the tenant for a day: templates, passengers, subscriptions, boards. Safe to repeat."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from aerofusion.notify.v1 import (
    recipient_service_pb2,
    recipient_service_pb2_grpc,
    subscription_service_pb2,
    subscription_service_pb2_grpc,
    template_service_pb2,
    template_service_pb2_grpc,
)
from aerofusion.sync.v1 import (
    frames_pb2,
    space_service_pb2,
    space_service_pb2_grpc,
    sync_service_pb2,
    sync_service_pb2_grpc,
)
from meshctl.demo import messages
from meshctl.demo.board import FIELDS, space_of
from meshctl.demo.day import AIRPORTS, Day
from meshctl.demo.edge import Edge, Refused
from meshctl.demo.notices import topic_of
from meshctl.demo.passengers import Passenger
from meshctl.demo.texts import TEXTS


CHUNK = 500
"""Most resources set by one call; the services take 1000."""

One = TypeVar("One")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stubs:
    """What a tenant is prepared with."""

    templates: Any
    recipients: Any
    subscriptions: Any
    spaces: Any
    sync: Any

    @classmethod
    def on(cls, channel: grpc.aio.Channel) -> Stubs:
        return cls(
            templates=template_service_pb2_grpc.TemplateServiceStub(channel),
            recipients=recipient_service_pb2_grpc.RecipientServiceStub(channel),
            subscriptions=subscription_service_pb2_grpc.SubscriptionServiceStub(channel),
            spaces=space_service_pb2_grpc.SpaceServiceStub(channel),
            sync=sync_service_pb2_grpc.SyncServiceStub(channel),
        )


class Tenant:
    """The resources of one tenant, made through the edge."""

    def __init__(self, name: str, edge: Edge) -> None:
        self._name = name
        self._parent = f"tenants/{name}"
        self._edge = edge
        self._stubs = Stubs.on(edge.channel)

    async def prepare_texts(self) -> None:
        """Set all templates. Unchanged ones get no new version."""
        for template_id in TEXTS:
            await self._edge.call(
                self._stubs.templates.UpdateTemplate,
                template_service_pb2.UpdateTemplateRequest(
                    template=messages.template(self._name, template_id), allow_missing=True
                ),
            )

    async def prepare_passengers(self, day: Day, passengers: Sequence[Passenger]) -> None:
        """Set the passengers and who follows which flight; nobody else follows any of them."""
        for some in _chunks(passengers):
            await self._edge.call(
                self._stubs.recipients.BatchUpdateRecipients,
                recipient_service_pb2.BatchUpdateRecipientsRequest(
                    parent=self._parent,
                    requests=[
                        recipient_service_pb2.UpdateRecipientRequest(
                            recipient=messages.recipient(self._name, one), allow_missing=True
                        )
                        for one in some
                    ],
                ),
            )
        topics = [f"{self._parent}/topics/{topic_of(flight.key)}" for flight in day.flights]
        for names in _chunks(topics):
            await self._edge.call(
                self._stubs.subscriptions.BatchDeleteSubscriptions,
                subscription_service_pb2.BatchDeleteSubscriptionsRequest(
                    parent=self._parent,
                    subscriptions=[
                        subscription_service_pb2.Subscription(topic=topic) for topic in names
                    ],
                ),
            )
        for wanted in _chunks(messages.subscriptions(self._name, passengers)):
            await self._edge.call(
                self._stubs.subscriptions.BatchCreateSubscriptions,
                subscription_service_pb2.BatchCreateSubscriptionsRequest(
                    parent=self._parent, subscriptions=wanted
                ),
            )

    async def prepare_staff(self) -> None:
        """Set who is told of alerts."""
        await self._edge.call(
            self._stubs.recipients.UpdateRecipient,
            recipient_service_pb2.UpdateRecipientRequest(
                recipient=messages.duty_manager(self._name), allow_missing=True
            ),
        )

    async def prepare_boards(self) -> dict[str, int]:
        """Make the boards that don't exist; return each airport's newest `seq`."""
        return {airport: await self._prepare_board(airport) for airport in AIRPORTS}

    async def clear_boards(self) -> None:
        """Remove what an earlier run left on the boards."""
        for airport in AIRPORTS:
            space = f"{self._parent}/spaces/{space_of(airport)}"
            head = await self._head(space)
            # A device of its own each time: an earlier sweep may have been broken off.
            device = f"broom-{secrets.token_hex(8)}"
            number = 0
            records = [name async for name in self._records(space)]
            for some in _chunks(records):
                batch = frames_pb2.MutationBatch()
                for name in some:
                    number += 1
                    change = batch.mutations.add(number=number, base_seq=head)
                    change.operations.add(record=name.rpartition("/")[2]).delete.SetInParent()
                await self._edge.call(
                    self._stubs.sync.Push,
                    sync_service_pb2.PushRequest(space=space, device_id=device, batch=batch),
                )

    async def _prepare_board(self, airport: str) -> int:
        space = f"{self._parent}/spaces/{space_of(airport)}"
        try:
            await self._edge.call(
                self._stubs.spaces.CreateSpace,
                space_service_pb2.CreateSpaceRequest(
                    parent=self._parent,
                    space_id=space_of(airport),
                    space=messages.board_space(airport),
                ),
            )
        except Refused as error:
            if error.code is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        answer = await self._edge.call(
            self._stubs.spaces.GetSpace, space_service_pb2.GetSpaceRequest(name=space)
        )
        if {field.name for field in answer.space.schema.fields} != set(FIELDS):
            changed = messages.board_space(airport)
            changed.name = space
            await self._edge.call(
                self._stubs.spaces.UpdateSpace, space_service_pb2.UpdateSpaceRequest(space=changed)
            )
        return int(answer.space.head_seq)

    async def _head(self, space: str) -> int:
        answer = await self._edge.call(
            self._stubs.spaces.GetSpace, space_service_pb2.GetSpaceRequest(name=space)
        )
        return int(answer.space.head_seq)

    async def _records(self, space: str) -> AsyncIterator[str]:
        token = ""
        while True:
            page = await self._edge.call(
                self._stubs.sync.ListRecords,
                sync_service_pb2.ListRecordsRequest(parent=space, page_size=1000, page_token=token),
            )
            for record in page.records:
                yield record.name
            token = page.next_page_token
            if not token:
                return


def _chunks(things: Sequence[One]) -> Iterator[Sequence[One]]:
    for start in range(0, len(things), CHUNK):
        yield things[start : start + CHUNK]
