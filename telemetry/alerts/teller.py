"""The shell around `telling`: alerts as they stand go in, messages go to the sender."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from telemetry.alerts.incident_book import Book
from telemetry.alerts.incidents import Standing
from telemetry.alerts.message import Message, subject_of, text_of
from telemetry.alerts.model import matching, selection_of
from telemetry.alerts.routing import Routing, inhibited
from telemetry.alerts.telling import GroupState, Seen, Why, tell
from telemetry.promql.labels import get
from telemetry.rules.states import Phase


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from telemetry.alerts.board import Board
    from telemetry.alerts.model import Listed, Silence
    from telemetry.alerts.routing import Policy
    from telemetry.alerts.sending import Sender
    from telemetry.alerts.store.routing import GroupKey
    from telemetry.alerts.telling import Notification

LOOK_EVERY_S = 1.0
"""How often waits and steps are looked at when nothing changes."""


class Teller:
    """
    Tells people of alerts. `run` until cancelled; used on the event loop only.

    Args:
        escalation: Returns the policy that a rule names, by group and rule.
        silences: Returns the silences that hold something back now.
        tells: Whether it is this replica that tells.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        board: Board,
        sender: Sender,
        *,
        tenant: str,
        escalation: Callable[[str, str], str],
        silences: Callable[[], Sequence[Silence]],
        tells: Callable[[], bool] = lambda: True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._board = board
        self._sender = sender
        self._tenant = tenant
        self._escalation = escalation
        self._silences = silences
        self._tells = tells
        self._clock = clock
        self.routing = Routing()
        self.incidents = Book()
        self._groups: dict[GroupKey, GroupState] = {}
        self._unsaved: dict[GroupKey, GroupState | None] = {}
        self._under_way: dict[GroupKey, int] = {}
        """Messages of each group that nobody has taken yet."""

    def join(self, routing: Routing, groups: Mapping[GroupKey, GroupState]) -> None:
        """Go on where an earlier run ended."""
        self.routing = routing
        self._groups = dict(groups)

    async def run(self) -> None:
        """Look at alerts whenever one has changed, and each second."""
        watcher = self._board.watch()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await watcher.news.wait()
                watcher.news.clear()
                watcher.changed.clear()
                self.look()
        finally:
            self._board.unwatch(watcher)

    def look(self) -> None:
        """Tell what is due."""
        if not self._tells():
            return
        now_ms = self._clock() // 1_000_000
        groups: dict[GroupKey, tuple[Policy, list[Seen]]] = {}
        standing: dict[GroupKey, list[Standing]] = {}
        listed = [one for one in self._board.listed(self._tenant) if _counts(one)]
        by_id = {one.id: one for one in listed}
        for one, held in zip(listed, self._held(listed), strict=True):
            policy = self.routing.policy(self._escalation(one.group, one.rule))
            by = ("alertname",) if policy is None else policy.group_by
            key = json.dumps({name: get(one.alert.labels, name) for name in by})
            group = ("" if policy is None else policy.id, key)
            standing.setdefault(group, []).append(_standing(one, held=held))
            if policy is None:
                continue
            _, seen = groups.setdefault(group, (policy, []))
            seen.append(
                Seen(
                    id=one.id,
                    fired_ms=one.alert.fired_ms,
                    acknowledged=one.marks.acknowledgement is not None,
                    flapping=one.alert.flapping,
                    held=held,
                )
            )
        if self.incidents.look(standing, now_ms):
            self._board.unsaved.set()
        for group in self._groups:
            policy = self.routing.policy(group[0])
            if group not in groups and policy is not None:
                groups[group] = (policy, [])
        for group, (policy, seen) in groups.items():
            state = self._groups.get(group, GroupState())
            after, due = tell(policy, state, seen, now_ms)
            for notification in due:
                self._under_way[group] = self._under_way.get(group, 0) + 1
                message = self._message(policy, group, notification, by_id, now_ms)
                if notification.why is Why.ESCALATED:
                    self.incidents.escalated(message, now_ms)
                self._sender.put(message)
            if after != state:
                self._keep(group, after)

    def take_unsaved(self) -> dict[GroupKey, GroupState | None]:
        """
        Return what the database must be told; it counts as told.

        Of a group whose messages are under way it isn't: after a crash they are told again.
        """
        unsaved = {k: v for k, v in self._unsaved.items() if k not in self._under_way}
        self._unsaved = {k: v for k, v in self._unsaved.items() if k in self._under_way}
        return unsaved

    def put_back(self, unsaved: Mapping[GroupKey, GroupState | None]) -> None:
        """The database couldn't be told: it must be told again."""
        self._unsaved = {**unsaved, **self._unsaved}

    def taken(self, message: Message, *, sent_ms: int, delivered_ms: int, route: str) -> None:
        """Note on the alerts of *message* when they were told; with no *route* they weren't."""
        now_ms = self._clock() // 1_000_000
        self.incidents.told(message, at_ms=delivered_ms or now_ms, route=route)
        self._board.unsaved.set()
        left = self._under_way.pop(message.group, 1) - 1
        if left:
            self._under_way[message.group] = left
        for name in message.alerts:
            one = self._board.get(self._tenant, name)
            if one is not None and route and not one.marks.receipt.sent_ms:
                receipt = replace(
                    one.marks.receipt, sent_ms=sent_ms, delivered_ms=delivered_ms, route=route
                )
                self._board.mark(one, replace(one.marks, receipt=receipt))

    def _keep(self, group: GroupKey, state: GroupState) -> None:
        if state.told:
            self._groups[group] = state
            self._unsaved[group] = state
        else:
            self._groups.pop(group, None)
            self._unsaved[group] = None

    def _held(self, listed: Sequence[Listed]) -> list[bool]:
        """Return which alerts are silenced or inhibited."""
        labels = [one.alert.labels for one in listed]
        held = inhibited(labels, self.routing.inhibitions)
        for silence in self._silences():
            fits = matching(labels, selection_of(silence.matchers))
            held = [before or fit for before, fit in zip(held, fits, strict=True)]
        return held

    def _message(
        self,
        policy: Policy,
        group: GroupKey,
        notification: Notification,
        by_id: Mapping[str, Listed],
        now_ms: int,
    ) -> Message:
        firing = [by_id[name] for name in notification.firing]
        resolved = [
            one
            for name in notification.resolved
            if (one := self._board.get(self._tenant, name)) is not None
        ]
        targets = [
            target
            for number in notification.steps
            if number < len(policy.steps)
            for target in policy.steps[number].targets
        ]
        identity = json.dumps([*group, notification.why, now_ms, notification.steps])
        return Message(
            id=hashlib.sha256(identity.encode()).hexdigest()[:32],
            policy=policy.id,
            group=group,
            version=now_ms,
            why=notification.why,
            subject=subject_of(notification, firing or resolved),
            text=text_of(firing, resolved),
            targets=tuple(self.routing.recipients(targets, now_ms)),
            fallback_mails=policy.fallback_mails,
            fallback_webhooks=policy.fallback_webhooks,
            alerts=notification.firing,
            labels=tuple(dict(one.alert.labels) for one in firing or resolved),
        )


def _standing(one: Listed, *, held: bool) -> Standing:
    alert = one.alert
    said = dict(alert.annotations)
    return Standing(
        id=one.id,
        title=get(alert.labels, "alertname"),
        summary=said.get("summary") or said.get("description") or "",
        fired_ms=alert.fired_ms,
        firing=alert.phase is Phase.FIRING,
        held=held,
        acknowledgement=one.marks.acknowledgement,
    )


def _counts(one: Listed) -> bool:
    """Whether people are told of it: it fires, or it flaps and may again in a moment."""
    return one.alert.phase is Phase.FIRING or (
        one.alert.phase is Phase.RESOLVED and one.alert.flapping
    )
