"""AlertService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import alert_pb2
from aerofusion.telemetry.v1 import alert_service_pb2 as pb
from aerofusion.telemetry.v1 import alert_service_pb2_grpc as stubs
from meshkit import authz, paging
from meshkit.errors import InvalidInput, Overloaded
from meshkit.ids import new_id
from telemetry.alerts import model
from telemetry.alerts.model import Silence
from telemetry.alerts.room import TENANT
from telemetry.alerts.services import wire
from telemetry.alerts.store.alerts import silence_etag


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from telemetry.alerts.model import Listed
    from telemetry.alerts.room import Room
    from telemetry.promql.matchers import Selection

    Context = Any

SERVICE = "aerofusion.telemetry.v1.AlertService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in (
        "ListAlerts",
        "WatchAlerts",
        "AcknowledgeAlerts",
        "CreateSilence",
        "GetSilence",
        "ListSilences",
        "UpdateSilence",
        "ExpireSilence",
    )
}

_NAMES_MAX = 1_000
_PER_MESSAGE = 500
_REQUEST_ID_CHARS_MAX = 128
_DAY_MS = 86_400_000
_SHOWN = frozenset(
    {
        alert_pb2.Alert.STATE_PENDING,
        alert_pb2.Alert.STATE_FIRING,
        alert_pb2.Alert.STATE_NO_DATA,
    }
)
_ORDER = {
    alert_pb2.Alert.STATE_FIRING: 0,
    alert_pb2.Alert.STATE_NO_DATA: 0,
    alert_pb2.Alert.STATE_PENDING: 1,
    alert_pb2.Alert.STATE_RESOLVED: 2,
}


class AlertService(stubs.AlertServiceServicer):
    """
    Alerts and silences.

    Args:
        stopping: Set when streams should end.

    """

    def __init__(self, room: Room, *, stopping: asyncio.Event) -> None:
        self._room = room
        self._stopping = stopping

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: Context
    ) -> pb.ListAlertsResponse:
        await self._room.rules()
        states = frozenset(request.states) or _SHOWN
        found = [
            one
            for one in self._matching(self._room.board.listed(TENANT), request.matchers)
            if wire.alert_state(one.alert) in states
        ]
        rows = sorted((_sort_key(one), one) for one in found)
        question = (sorted(states), list(request.matchers))
        after = paging.read_token(request.page_token, *question)
        limit = paging.page_size(request.page_size, default=100, at_most=1_000)
        left = [row for row in rows if row[0] > after]
        token = paging.next_token(left[limit - 1][0], *question) if len(left) > limit else ""
        return pb.ListAlertsResponse(
            alerts=self._messages([one for _, one in left[:limit]]), next_page_token=token
        )

    async def WatchAlerts(
        self, request: pb.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[pb.WatchAlertsResponse]:
        await self._room.rules()
        _selection(request.matchers)
        board = self._room.board
        watcher = board.watch()
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            everything = self._matching(board.listed(TENANT), request.matchers)
            for first in range(0, len(everything), _PER_MESSAGE):
                part = everything[first : first + _PER_MESSAGE]
                yield pb.WatchAlertsResponse(alerts=self._messages(part))
            yield pb.WatchAlertsResponse(complete=True)
            while True:
                news = asyncio.ensure_future(watcher.news.wait())
                await asyncio.wait({news, stopping}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if stopping.done():
                    return
                watcher.news.clear()
                if watcher.too_slow:
                    raise Overloaded(
                        "WATCH_TOO_SLOW", "The changes weren't read in time; watch again."
                    )
                keys, watcher.changed = watcher.changed, {}
                names = [name for tenant, name in keys if tenant == TENANT]
                for first in range(0, len(names), _PER_MESSAGE):
                    yield self._news(names[first : first + _PER_MESSAGE], request.matchers)
        finally:
            stopping.cancel()
            board.unwatch(watcher)

    async def AcknowledgeAlerts(
        self, request: pb.AcknowledgeAlertsRequest, context: Context
    ) -> pb.AcknowledgeAlertsResponse:
        await self._room.rules()
        self._room.lease.check()
        if not 1 <= len(request.names) <= _NAMES_MAX:
            raise _invalid("INVALID_NAME", {"names": f"1 to {_NAMES_MAX}"})
        _check_comment(request.comment, at_least=0)
        names = [wire.read_id("names", name, "alerts") for name in request.names]
        taken = self._room.board.acknowledge(
            TENANT,
            names,
            actor=authz.current_caller().subject,
            comment=request.comment,
            now_ms=self._room.now_ms,
        )
        await self._room.save()
        return pb.AcknowledgeAlertsResponse(alerts=self._messages(taken))

    async def CreateSilence(
        self, request: pb.CreateSilenceRequest, context: Context
    ) -> pb.CreateSilenceResponse:
        store = await self._room.silence_store()
        if len(request.request_id) > _REQUEST_ID_CHARS_MAX:
            raise _invalid(
                "INVALID_SILENCE", {"request_id": f"at most {_REQUEST_ID_CHARS_MAX} characters"}
            )
        wanted = self._silence(request.silence, new_id())
        made = await store.create(TENANT, wanted, request_id=request.request_id)
        await self._room.read_silences()
        return pb.CreateSilenceResponse(silence=wire.silence_message(made))

    async def GetSilence(
        self, request: pb.GetSilenceRequest, context: Context
    ) -> pb.GetSilenceResponse:
        silence = wire.read_id("name", request.name, "silences")
        found = await (await self._room.silence_store()).get(TENANT, silence)
        return pb.GetSilenceResponse(silence=wire.silence_message(found))

    async def ListSilences(
        self, request: pb.ListSilencesRequest, context: Context
    ) -> pb.ListSilencesResponse:
        now_ms = self._room.now_ms
        since_ms = now_ms - _DAY_MS if request.show_ended else now_ms
        found = await (await self._room.silence_store()).all(TENANT, since_ms=since_ms)
        rows = [(f"{(1 << 53) - one.end_ms:016d}/{one.id}", one) for one in found]
        after = paging.read_token(request.page_token, request.show_ended)
        limit = paging.page_size(request.page_size)
        left = [row for row in rows if row[0] > after]
        more = len(left) > limit
        return pb.ListSilencesResponse(
            silences=[wire.silence_message(one) for _, one in left[:limit]],
            next_page_token=(
                paging.next_token(left[limit - 1][0], request.show_ended) if more else ""
            ),
        )

    async def UpdateSilence(
        self, request: pb.UpdateSilenceRequest, context: Context
    ) -> pb.UpdateSilenceResponse:
        silence = wire.read_id("silence.name", request.silence.name, "silences")
        store = await self._room.silence_store()
        wanted = self._silence(request.silence, silence)
        stored = await store.update(TENANT, wanted, etag=request.silence.etag)
        await self._room.read_silences()
        return pb.UpdateSilenceResponse(silence=wire.silence_message(stored))

    async def ExpireSilence(
        self, request: pb.ExpireSilenceRequest, context: Context
    ) -> pb.ExpireSilenceResponse:
        silence = wire.read_id("name", request.name, "silences")
        store = await self._room.silence_store()
        there = await store.get(TENANT, silence)
        now_ms = self._room.now_ms
        if there.end_ms > now_ms:
            ended = replace(
                there, start_ms=min(there.start_ms, now_ms), end_ms=now_ms, updated_ms=now_ms
            )
            ended = replace(ended, etag=silence_etag(ended))
            there = await store.update(TENANT, ended, etag=there.etag)
            await self._room.read_silences()
        return pb.ExpireSilenceResponse(silence=wire.silence_message(there))

    def _silence(self, given: alert_pb2.Silence, silence: str) -> Silence:
        """Return the silence that a message asks for; raises InvalidInput INVALID_SILENCE."""
        now_ms = self._room.now_ms
        start_ms = given.start_time.ToMilliseconds() if given.HasField("start_time") else now_ms
        end_ms = given.end_time.ToMilliseconds()
        faults: dict[str, str] = {}
        if not 1 <= len(given.matchers) <= model.MATCHERS_MAX:
            faults["silence.matchers"] = f"1 to {model.MATCHERS_MAX}"
        else:
            (group,) = _selection(given.matchers)
            if all(model.matches_absence(one) for one in group):
                faults["silence.matchers"] = "they would match every alert"
        if not start_ms < end_ms <= start_ms + model.SILENCE_MS_MAX:
            faults["silence.end_time"] = "after its start, by a year at most"
        elif end_ms <= now_ms:
            faults["silence.end_time"] = "must be in the future"
        if not 1 <= len(given.comment) <= model.COMMENT_CHARS_MAX or "\0" in given.comment:
            faults["silence.comment"] = f"1 to {model.COMMENT_CHARS_MAX} characters"
        if faults:
            raise _invalid("INVALID_SILENCE", faults)
        made = Silence(
            id=silence,
            matchers=tuple(given.matchers),
            start_ms=start_ms,
            end_ms=end_ms,
            comment=given.comment,
            creator=authz.current_caller().subject,
            etag="",
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        return replace(made, etag=silence_etag(made))

    def _news(self, names: Sequence[str], matchers: Sequence[str]) -> pb.WatchAlertsResponse:
        found = {name: self._room.board.get(TENANT, name) for name in names}
        there = [one for one in found.values() if one is not None]
        return pb.WatchAlertsResponse(
            alerts=self._messages(self._matching(there, matchers)),
            removed=[f"alerts/{name}" for name, one in found.items() if one is None],
        )

    def _matching(self, alerts: Sequence[Listed], matchers: Sequence[str]) -> list[Listed]:
        if not matchers:
            return list(alerts)
        fits = model.matching([one.alert.labels for one in alerts], _selection(matchers))
        return [one for one, fit in zip(alerts, fits, strict=True) if fit]

    def _messages(self, alerts: Sequence[Listed]) -> list[alert_pb2.Alert]:
        labels = [one.alert.labels for one in alerts]
        silenced: list[list[str]] = [[] for _ in alerts]
        for silence in self._room.active_silences():
            fits = model.matching(labels, model.selection_of(silence.matchers))
            for by, fit in zip(silenced, fits, strict=True):
                if fit:
                    by.append(silence.id)
        return [wire.alert_message(one, by) for one, by in zip(alerts, silenced, strict=True)]


def _sort_key(one: Listed) -> str:
    order = _ORDER[wire.alert_state(one.alert)]
    since = one.alert.fired_ms or one.alert.active_ms
    return f"{order}/{(1 << 53) - since:016d}/{one.id}"


def _selection(matchers: Sequence[str]) -> Selection:
    if len(matchers) > model.MATCHERS_MAX:
        raise _invalid("INVALID_MATCHER", {"matchers": f"at most {model.MATCHERS_MAX}"})
    return model.selection_of(matchers)


def _check_comment(comment: str, *, at_least: int) -> None:
    if not at_least <= len(comment) <= model.COMMENT_CHARS_MAX or "\0" in comment:
        raise _invalid(
            "INVALID_COMMENT", {"comment": f"{at_least} to {model.COMMENT_CHARS_MAX} characters"}
        )


def _invalid(reason: str, faults: dict[str, str]) -> InvalidInput:
    field, why = next(iter(faults.items()))
    return InvalidInput(reason, f"{field}: {why}.", field_violations=faults)
