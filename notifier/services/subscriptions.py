"""SubscriptionService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.notify.v1 import subscription_service_pb2 as pb
from aerofusion.notify.v1 import subscription_service_pb2_grpc as stubs
from meshkit.authz import current_caller
from meshkit.paging import next_token, page_size, read_token
from notifier import names
from notifier.services.wire import Problems, timestamp
from notifier.settings import LIMITS


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from notifier.store.recipients import RecipientStore

    Context = Any


class SubscriptionService(stubs.SubscriptionServiceServicer):
    def __init__(self, store: RecipientStore, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def BatchCreateSubscriptions(
        self, request: pb.BatchCreateSubscriptionsRequest, context: Context
    ) -> pb.BatchCreateSubscriptionsResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        pairs = _pairs(tenant, request.subscriptions, whole_topics=False)
        made = await self._store.subscribe(tenant, pairs, now=self._clock())
        return pb.BatchCreateSubscriptionsResponse(created_count=made)

    async def BatchDeleteSubscriptions(
        self, request: pb.BatchDeleteSubscriptionsRequest, context: Context
    ) -> pb.BatchDeleteSubscriptionsResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        pairs = _pairs(tenant, request.subscriptions, whole_topics=True)
        gone = await self._store.unsubscribe(tenant, pairs)
        return pb.BatchDeleteSubscriptionsResponse(deleted_count=gone)

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        tenant, topic = names.read("parent", request.parent, "topics")
        current_caller().check_tenant(tenant)
        limit = page_size(request.page_size)
        after = read_token(request.page_token, request.parent)
        found = await self._store.subscribers(tenant, topic, after=after, limit=limit + 1)
        more = len(found) > limit
        found = found[:limit]
        return pb.ListSubscriptionsResponse(
            subscriptions=[
                pb.Subscription(
                    topic=request.parent,
                    recipient=names.recipient_name(tenant, recipient),
                    create_time=timestamp(create_time),
                )
                for recipient, create_time in found
            ],
            next_page_token=next_token(found[-1][0], request.parent) if more else "",
        )


def _pairs(
    tenant: str, given: Sequence[pb.Subscription], *, whole_topics: bool
) -> list[tuple[str, str]]:
    problems = Problems()
    if not 1 <= len(given) <= LIMITS.batch_max:
        problems.add("subscriptions", f"1 to {LIMITS.batch_max}")
    pairs: dict[tuple[str, str], None] = {}
    for number, one in enumerate(given[: LIMITS.batch_max]):
        topic = _id(f"subscriptions[{number}].topic", one.topic, tenant, "topics", problems)
        recipient = ""
        if one.recipient or not whole_topics:
            field = f"subscriptions[{number}].recipient"
            recipient = _id(field, one.recipient, tenant, "recipients", problems)
        pairs[topic, recipient] = None
        if len(problems.found) >= LIMITS.batch_max // 10:
            break
    problems.raise_if_any("INVALID_SUBSCRIPTION", "The request")
    return list(pairs)


def _id(field: str, name: str, tenant: str, collection: str, problems: Problems) -> str:
    try:
        owner, one = names.parse(name, collection)
    except names.BadName as error:
        problems.add(field, str(error))
        return ""
    if owner != tenant:
        problems.add(field, "must be of the request's tenant")
    return one
