"""Rules and alerts as Prometheus's HTTP API tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.http import rules as shown
from telemetry.rules.states import Health, Phase


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.rules.evaluating import Prepared
    from telemetry.rules.runner import Runner, Running
    from telemetry.rules.states import Alert, RuleState

_HEALTH = {Health.OK: "ok", Health.NO_DATA: "ok", Health.FAILING: "err"}


class Shown:
    """The groups of a runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def groups(self) -> Sequence[shown.Group]:
        """Return all groups by id."""
        return [_group(running) for _, running in sorted(self._runner.groups.items())]


def _group(running: Running) -> shown.Group:
    return shown.Group(
        name=running.group.name,
        file=running.id,
        interval_s=running.interval_ms / 1000,
        rules=[_rule(one, running.states[key], running) for key, one in running.rules.items()],
        limit=running.group.limit,
        took_s=running.took_s,
        evaluated_ms=running.last_ms,
    )


def _rule(prepared: Prepared, state: RuleState, running: Running) -> shown.Rule:
    rule = prepared.rule
    return shown.Rule(
        name=rule.name,
        query=rule.expr,
        is_alert=bool(rule.alert),
        labels=running.group.labels_of(rule),
        annotations=rule.annotations,
        for_s=rule.hold_ms / 1000,
        keep_firing_for_s=rule.keep_firing_ms / 1000,
        alerts=[_alert(one) for one in state.alerts.values() if one.phase is not Phase.RESOLVED],
        health=_HEALTH.get(state.health, "unknown"),
        last_error=state.error,
        evaluated_ms=state.evaluated_ms,
    )


def _alert(alert: Alert) -> shown.Alert:
    return shown.Alert(
        labels=alert.labels,
        annotations=alert.annotations,
        state=alert.phase.value,
        active_ms=alert.active_ms,
        value=alert.value,
        firing_kept_ms=alert.ended_ms or None,
    )
