"""Rules and alerts, whoever evaluates them; here is only what is told of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from telemetry.http import formats, parameters, responses
from telemetry.http.parameters import Naming, bad_parameter
from telemetry.promql import matchers
from telemetry.promql.numbers import general
from telemetry.promql.parse import parse_selector


if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from multidict import MultiDict

    from telemetry.promql.labels import Labels
    from telemetry.promql.limits import QueryLimits

_TYPES = {"alert": "alerting", "record": "recording"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert that is pending or firing."""

    labels: Labels
    annotations: Labels
    state: str
    """`pending` or `firing`."""

    active_ms: int
    value: float
    firing_kept_ms: int | None = None
    """Since when it fires only because of `keep_firing_for`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, and how its last evaluation went."""

    name: str
    query: str
    is_alert: bool
    labels: Labels = ()
    annotations: Labels = ()
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    alerts: Sequence[Alert] = ()
    health: str = "unknown"
    """`ok`, `err` or `unknown`: not evaluated yet."""

    last_error: str = ""
    took_s: float = 0.0
    evaluated_ms: int = 0

    @property
    def state(self) -> str:
        """`firing` if one of its alerts is, `pending` if one is that, or `inactive`."""
        states = {alert.state for alert in self.alerts}
        return next((state for state in ("firing", "pending") if state in states), "inactive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    file: str
    interval_s: float
    rules: Sequence[Rule] = field(default_factory=tuple)
    limit: int = 0
    took_s: float = 0.0
    evaluated_ms: int = 0


class Rules(Protocol):
    """Whatever evaluates rules."""

    def groups(self) -> Sequence[Group]:
        """Return all groups, in their order. Must not block."""
        ...


class RulesApi:
    """What Prometheus tells of rules and alerts."""

    def __init__(self, rules: Rules | None, limits: QueryLimits) -> None:
        self._rules = rules
        self._limits = limits

    async def rules(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        shows_alerts = given.get("exclude_alerts", "").lower() not in ("true", "1")
        names = set(given.getall("rule_name[]", []))
        groups = set(given.getall("rule_group[]", []))
        files = set(given.getall("file[]", []))
        wanted = given.get("type", "").lower()
        if wanted and wanted not in _TYPES:
            raise bad_parameter("type", f'not supported value "{wanted}"')
        with Naming("match[]"):
            chosen = [parse_selector(one, self._limits) for one in given.getall("match[]", [])]
        shown = []
        for group in self._groups():
            if (groups and group.name not in groups) or (files and group.file not in files):
                continue
            rules = [
                _rule(rule, shows_alerts=shows_alerts)
                for rule in group.rules
                if (not names or rule.name in names)
                and (not wanted or rule.is_alert == (wanted == "alert"))
                and (not chosen or any(_matches(rule, one) for one in chosen))
            ]
            if rules or not (names or wanted or chosen):
                shown.append(_group(group, rules))
        return responses.data(_page(shown, given))

    async def alerts(self, _request: web.Request) -> web.Response:
        return responses.data(
            {
                "alerts": [
                    _alert(alert)
                    for group in self._groups()
                    for rule in group.rules
                    for alert in rule.alerts
                ]
            }
        )

    def _groups(self) -> Sequence[Group]:
        return () if self._rules is None else self._rules.groups()


def _page(groups: list[dict[str, Any]], given: MultiDict[str]) -> dict[str, Any]:
    """Return the groups that `group_limit` and `group_next_token` ask for."""
    limit = parameters.limit(given, "group_limit")
    token = given.get("group_next_token", "")
    if token:
        places = [i for i, group in enumerate(groups) if _token(group) == token]
        if not places:
            raise bad_parameter("group_next_token", "no such group")
        groups = groups[places[0] :]
    page: dict[str, Any] = {"groups": groups[: limit or None]}
    if 0 < limit < len(groups):
        page["groupNextToken"] = _token(groups[limit])
    return page


def _token(group: dict[str, Any]) -> str:
    return f"{group['file']};{group['name']}"


def _matches(rule: Rule, selection: matchers.Selection) -> bool:
    return bool(matchers.selected([rule.labels], selection)[0])


def _group(group: Group, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": group.interval_s,
        "limit": group.limit,
        "evaluationTime": group.took_s,
        "lastEvaluation": _time(group.evaluated_ms),
    }


def _rule(rule: Rule, *, shows_alerts: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": rule.name, "query": rule.query, "labels": dict(rule.labels)}
    if rule.is_alert:
        shown |= {
            "state": rule.state,
            "duration": rule.for_s,
            "keepFiringFor": rule.keep_firing_for_s,
            "annotations": dict(rule.annotations),
            "alerts": [_alert(alert) for alert in rule.alerts] if shows_alerts else [],
        }
    if rule.last_error:
        shown["lastError"] = rule.last_error
    return shown | {
        "health": rule.health,
        "evaluationTime": rule.took_s,
        "lastEvaluation": _time(rule.evaluated_ms),
        "type": "alerting" if rule.is_alert else "recording",
    }


def _alert(alert: Alert) -> dict[str, Any]:
    shown = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": alert.state,
        "activeAt": _time(alert.active_ms),
        "value": general(alert.value),
    }
    if alert.firing_kept_ms is not None:
        shown["keepFiringSince"] = _time(alert.firing_kept_ms)
    return shown


def _time(ms: int) -> str:
    return formats.rfc3339(datetime.fromtimestamp(ms / 1000, UTC))
