"""RecipientService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aerofusion.notify.v1 import recipient_service_pb2 as pb
from aerofusion.notify.v1 import recipient_service_pb2_grpc as stubs
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput
from meshkit.paging import next_token, page_size, read_token
from notifier import names
from notifier.channels import CHANNELS
from notifier.model import Category, Recipient
from notifier.services.owners import check_owner
from notifier.services.wire import Problems, timestamp
from notifier.settings import LIMITS


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from notifier.store.recipients import RecipientStore

    Context = Any

LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")
FIELDS = ("display_name", "addresses", "channels", "preferences", "locale", "time_zone")


class RecipientService(stubs.RecipientServiceServicer):
    def __init__(self, store: RecipientStore, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def CreateRecipient(
        self, request: pb.CreateRecipientRequest, context: Context
    ) -> pb.CreateRecipientResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        problems = Problems()
        if not names.ID.fullmatch(request.recipient_id):
            problems.add("recipient_id", "1 to 128 of A-Z a-z 0-9 . _ ~ -, a letter or digit first")
        wanted = from_proto(request.recipient_id, request.recipient, problems)
        problems.raise_if_any("INVALID_RECIPIENT", "The recipient")
        made = await self._store.create(
            tenant, wanted, now=self._clock(), repeat=bool(request.request_id)
        )
        return pb.CreateRecipientResponse(recipient=to_proto(tenant, made))

    async def GetRecipient(
        self, request: pb.GetRecipientRequest, context: Context
    ) -> pb.GetRecipientResponse:
        tenant, recipient = names.read("name", request.name, "recipients")
        check_owner(tenant, recipient)
        found = await self._store.get(tenant, recipient)
        return pb.GetRecipientResponse(recipient=to_proto(tenant, found))

    async def ListRecipients(
        self, request: pb.ListRecipientsRequest, context: Context
    ) -> pb.ListRecipientsResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        limit = page_size(request.page_size)
        found = await self._store.page(
            tenant, after=read_token(request.page_token, request.parent), limit=limit + 1
        )
        more = len(found) > limit
        found = found[:limit]
        return pb.ListRecipientsResponse(
            recipients=[to_proto(tenant, one) for one in found],
            next_page_token=next_token(found[-1].id, request.parent) if more else "",
        )

    async def UpdateRecipient(
        self, request: pb.UpdateRecipientRequest, context: Context
    ) -> pb.UpdateRecipientResponse:
        tenant, recipient = names.read("recipient.name", request.recipient.name, "recipients")
        current_caller().check_tenant(tenant)
        problems = Problems()
        wanted = from_proto(recipient, request.recipient, problems)
        mask = _mask(request, problems)
        problems.raise_if_any("INVALID_RECIPIENT", "The recipient")
        (stored,) = await self._store.update(
            tenant, [(wanted, mask, request.allow_missing)], now=self._clock()
        )
        return pb.UpdateRecipientResponse(recipient=to_proto(tenant, stored))

    async def BatchUpdateRecipients(
        self, request: pb.BatchUpdateRecipientsRequest, context: Context
    ) -> pb.BatchUpdateRecipientsResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        if not 1 <= len(request.requests) <= LIMITS.batch_max:
            raise InvalidInput(
                "INVALID_RECIPIENT",
                f"A batch holds 1 to {LIMITS.batch_max} recipients.",
                field_violations={"requests": f"1 to {LIMITS.batch_max}"},
            )
        changes: list[tuple[Recipient, frozenset[str] | None, bool]] = []
        whole = Problems()
        seen: set[str] = set()
        for number, one in enumerate(request.requests):
            problems = Problems(f"requests[{number}].")
            try:
                owner, recipient = names.parse(one.recipient.name, "recipients")
            except names.BadName as error:
                problems.add("recipient.name", str(error))
                owner, recipient = tenant, ""
            if owner != tenant:
                problems.add("recipient.name", "must be of the batch's tenant")
            if recipient in seen:
                problems.add("recipient.name", "named twice in this batch")
            if one.HasField("update_mask"):
                problems.add("update_mask", "must be absent in a batch")
            seen.add(recipient)
            changes.append(
                (from_proto(recipient, one.recipient, problems), None, one.allow_missing)
            )
            whole.found |= problems.found
        whole.found = dict(list(whole.found.items())[:100])
        whole.raise_if_any("INVALID_RECIPIENT", "The batch")
        stored = await self._store.update(tenant, changes, now=self._clock())
        return pb.BatchUpdateRecipientsResponse(recipients=[to_proto(tenant, r) for r in stored])

    async def DeleteRecipient(
        self, request: pb.DeleteRecipientRequest, context: Context
    ) -> pb.DeleteRecipientResponse:
        tenant, recipient = names.read("name", request.name, "recipients")
        current_caller().check_tenant(tenant)
        await self._store.delete(tenant, recipient, etag=request.etag)
        return pb.DeleteRecipientResponse()


def from_proto(recipient: str, given: pb.Recipient, problems: Problems) -> Recipient:
    """Return the recipient asked for; what is wrong with it is noted in *problems*."""
    at_most = LIMITS.display_name_chars_max
    problems.text("recipient.display_name", given.display_name, at_most=at_most)
    addresses: dict[str, str] = {}
    for address in given.addresses:
        _check_address(address, addresses, problems)
        addresses[address.channel] = address.value
    preferences: dict[Category, tuple[str, ...]] = {}
    for preference in given.preferences:
        if int(preference.category) not in (Category.SERVICE, Category.PROMOTION):
            problems.add("recipient.preferences", "category must be service or promotion")
            continue
        category = Category(preference.category)
        if category in preferences:
            problems.add("recipient.preferences", "at most one for each category")
        preferences[category] = _channels("recipient.preferences", preference.channels, problems)
    if given.locale and not LOCALE.fullmatch(given.locale):
        problems.add("recipient.locale", "must be a BCP 47 tag, such as pt-BR")
    if given.time_zone and not is_time_zone(given.time_zone):
        problems.add("recipient.time_zone", "must be an IANA zone, such as America/New_York")
    return Recipient(
        id=recipient,
        display_name=given.display_name,
        addresses=addresses,
        channels=_channels("recipient.channels", given.channels, problems),
        preferences=preferences,
        locale=given.locale,
        time_zone=given.time_zone or "UTC",
        etag=given.etag,
    )


def to_proto(tenant: str, r: Recipient) -> pb.Recipient:
    return pb.Recipient(
        name=names.recipient_name(tenant, r.id),
        display_name=r.display_name,
        addresses=[pb.Address(channel=c, value=v) for c, v in sorted(r.addresses.items())],
        channels=r.channels,
        preferences=[
            pb.CategoryPreference(category=int(c), channels=chosen)  # type: ignore[arg-type]
            for c, chosen in sorted(r.preferences.items())
        ],
        locale=r.locale,
        time_zone=r.time_zone,
        etag=r.etag,
        create_time=timestamp(r.create_time),
        update_time=timestamp(r.update_time),
    )


def is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        return False
    return True


def _check_address(address: pb.Address, known: dict[str, str], problems: Problems) -> None:
    field = "recipient.addresses"
    kind = CHANNELS.get(address.channel)
    if kind is None:
        problems.add(field, f"{address.channel[:32]!r} is none of {', '.join(sorted(CHANNELS))}")
        return
    if address.channel in known:
        problems.add(field, "at most one for each channel")
    if not 1 <= len(address.value) <= LIMITS.address_chars_max:
        problems.add(field, f"1 to {LIMITS.address_chars_max} characters")
    problem = kind.address_problem(address.value)
    if problem:
        problems.add(field, f"{address.channel}: {problem}")


def _channels(field: str, given: Iterable[str], problems: Problems) -> tuple[str, ...]:
    chosen = sorted(set(given))
    for channel in chosen:
        if channel not in CHANNELS:
            problems.add(field, f"{channel[:32]!r} is none of {', '.join(sorted(CHANNELS))}")
    return tuple(chosen)


def _mask(request: pb.UpdateRecipientRequest, problems: Problems) -> frozenset[str] | None:
    if not request.HasField("update_mask"):
        return None
    for path in request.update_mask.paths:
        if path not in FIELDS:
            problems.add("update_mask", f"{path[:32]!r} is none of {', '.join(FIELDS)}")
    return frozenset(path for path in request.update_mask.paths if path in FIELDS)
