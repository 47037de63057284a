"""
Alerts as they stand: what rules say of them, and what people have.

The rules' states are the runner's; what is kept here are the marks, who watches, and what of all
that the database doesn't know yet.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from meshkit.errors import FailedPrecondition, NotFound, Overloaded
from telemetry.alerts.model import Acknowledgement, Listed, Marks, Receipt, alert_id
from telemetry.rules.states import Happened, Phase


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from telemetry.promql.labels import Labels
    from telemetry.rules.runner import Change, Runner
    from telemetry.rules.states import Alert

WATCHERS_MAX = 200
UNREAD_MAX = 10_000
"""Changes that a watcher may be behind."""


@dataclass(slots=True, eq=False)
class Watcher:
    """What one who watches has not been told yet."""

    changed: dict[tuple[str, str], None] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    too_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaved:
    """What the database must be told."""

    listed: Sequence[Listed]
    gone: Sequence[tuple[str, str]]


class Board:
    """
    All alerts of one runner. Used on the event loop only.

    Args:
        ingested: Returns when a sample of a time had been acknowledged, given before when; 0:
            unknown. Unix milliseconds.

    """

    def __init__(self, ingested: Callable[[int, int], int] | None = None) -> None:
        self._ingested = ingested
        self._marks: dict[tuple[str, str], Marks] = {}
        self._where: dict[tuple[str, str], tuple[str, str]] = {}
        """Group and rule of each alert that there is."""

        self._labels: dict[tuple[str, str], Labels] = {}
        self._unsaved: dict[tuple[str, str], None] = {}
        self._watchers: set[Watcher] = set()
        self.unsaved = asyncio.Event()
        """Set while the database must be told of something."""
        self._runner: Runner | None = None

    def join(self, runner: Runner, listed: Iterable[Listed] = ()) -> None:
        """Show the alerts of *runner*, with the marks that an earlier run left."""
        self._runner = runner
        for one in listed:
            self._put(one.tenant, one.id, one.group, one.rule, one.alert)
            self._marks[one.tenant, one.id] = one.marks

    def changed(self, changes: Sequence[Change]) -> None:
        """Take in what happened to alerts."""
        for change in changes:
            alert, what = change.event.alert, change.event.what
            key = (change.tenant, alert_id(change.tenant, change.group, change.rule, alert.labels))
            is_gone = what is Happened.ENDED and alert.phase is Phase.PENDING
            if is_gone or what is Happened.FORGOTTEN:
                self._forget(key)
            else:
                self._put(*key, change.group, change.rule, alert)
            if what is Happened.FIRING:
                self._marks[key] = Marks(receipt=self._receipt(alert, change.evaluated_ms))
            self._touch(key)

    def listed(self, tenant: str) -> list[Listed]:
        """Return all alerts of *tenant*."""
        found = (self.get(*key) for key in self._where if key[0] == tenant)
        return [one for one in found if one is not None]

    def get(self, tenant: str, name: str) -> Listed | None:
        """Return an alert; None if it isn't listed."""
        where = self._where.get((tenant, name))
        if where is None or self._runner is None:
            return None
        group, rule = where
        running = self._runner.groups.get((tenant, group))
        state = running.states.get(rule) if running is not None else None
        alert = state.alerts.get(self._labels[tenant, name]) if state is not None else None
        if alert is None:
            return None
        marks = self._marks.get((tenant, name), Marks())
        return Listed(id=name, tenant=tenant, group=group, rule=rule, alert=alert, marks=marks)

    def acknowledge(
        self, tenant: str, names: Sequence[str], *, actor: str, comment: str, now_ms: int
    ) -> list[Listed]:
        """
        Note that *actor* has taken alerts on: all of them, or none.

        Raises:
            NotFound: ALERT_NOT_FOUND.
            FailedPrecondition: ALERT_NOT_FIRING.

        """
        found = []
        for name in names:
            one = self.get(tenant, name)
            if one is None:
                raise NotFound("ALERT_NOT_FOUND", f"There is no alert {name!r}.", alert=name)
            if one.alert.phase is not Phase.FIRING:
                raise FailedPrecondition(
                    "ALERT_NOT_FIRING", "The alert doesn't fire; nobody need take it on.",
                    alert=name,
                )  # fmt: skip
            found.append(one)
        for one in found:
            if one.marks.acknowledgement is None:
                taken = Acknowledgement(
                    actor=actor, at_ms=now_ms, comment=comment, fired_ms=one.alert.fired_ms
                )
                self.mark(one, replace(one.marks, acknowledgement=taken))
        return [one for name in names if (one := self.get(tenant, name)) is not None]

    def mark(self, one: Listed, marks: Marks) -> None:
        """Put *marks* on an alert."""
        self._marks[one.tenant, one.id] = marks
        self._touch((one.tenant, one.id))

    def watch(self) -> Watcher:
        """
        Return who is told of changes from now on; `unwatch` ends it.

        Raises:
            Overloaded: TOO_MANY_WATCHERS.

        """
        if len(self._watchers) >= WATCHERS_MAX:
            raise Overloaded(
                "TOO_MANY_WATCHERS", "Too many watch alerts.", watchers_max=str(WATCHERS_MAX)
            )
        watcher = Watcher()
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Tell *watcher* nothing more."""
        self._watchers.discard(watcher)

    def touch_all(self, tenant: str, *, unsaved: bool = False) -> None:
        """
        Have those who watch look at every alert again: a silence has changed.

        Args:
            unsaved: The database must be told of all of them, too.

        """
        for key in self._where:
            if key[0] == tenant:
                (self._touch if unsaved else self._tell)(key)

    def take_unsaved(self) -> Unsaved:
        """Return what the database must be told; it counts as told."""
        keys, self._unsaved = self._unsaved, {}
        self.unsaved.clear()
        found = {key: self.get(*key) for key in keys}
        return Unsaved(
            listed=[one for one in found.values() if one is not None],
            gone=[key for key, one in found.items() if one is None],
        )

    def put_back(self, unsaved: Unsaved) -> None:
        """The database couldn't be told: it must be told again."""
        for one in unsaved.listed:
            self._unsaved.setdefault((one.tenant, one.id))
        for key in unsaved.gone:
            self._unsaved.setdefault(key)

    def _receipt(self, alert: Alert, evaluated_ms: int) -> Receipt:
        ingested_ms = 0
        if self._ingested is not None and alert.event_ms:
            ingested_ms = self._ingested(alert.event_ms, evaluated_ms)
        return Receipt(event_ms=alert.event_ms, ingested_ms=ingested_ms, evaluated_ms=evaluated_ms)

    def _put(self, tenant: str, name: str, group: str, rule: str, alert: Alert) -> None:
        self._where[tenant, name] = (group, rule)
        self._labels[tenant, name] = alert.labels

    def _forget(self, key: tuple[str, str]) -> None:
        self._where.pop(key, None)
        self._labels.pop(key, None)
        self._marks.pop(key, None)

    def _touch(self, key: tuple[str, str]) -> None:
        self._unsaved[key] = None
        self.unsaved.set()
        self._tell(key)

    def _tell(self, key: tuple[str, str]) -> None:
        for watcher in self._watchers:
            if len(watcher.changed) >= UNREAD_MAX:
                watcher.too_slow = True
            else:
                watcher.changed[key] = None
            watcher.news.set()
