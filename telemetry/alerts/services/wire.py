"""Messages of the contract to the model and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.telemetry.v1 import alert_pb2, rule_group_pb2
from meshkit.errors import InvalidInput
from telemetry.rules.files import read_group
from telemetry.rules.model import NoData, duration_text
from telemetry.rules.states import Health, Phase


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.alerts.model import Listed, Silence
    from telemetry.alerts.store.rules import Stored
    from telemetry.rules.model import Group, Rule
    from telemetry.rules.runner import Running
    from telemetry.rules.states import Alert, RuleState

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")
_NOT_ID = re.compile(r"[^A-Za-z0-9._~-]+")
_NO_DATA = {
    rule_group_pb2.Rule.NO_DATA_UNSPECIFIED: NoData.KEEP,
    rule_group_pb2.Rule.NO_DATA_KEEP: NoData.KEEP,
    rule_group_pb2.Rule.NO_DATA_RESOLVE: NoData.RESOLVE,
}
_HEALTH = {
    Health.UNKNOWN: rule_group_pb2.Rule.HEALTH_UNSPECIFIED,
    Health.OK: rule_group_pb2.Rule.HEALTH_OK,
    Health.NO_DATA: rule_group_pb2.Rule.HEALTH_NO_DATA,
    Health.FAILING: rule_group_pb2.Rule.HEALTH_FAILING,
}
_POLICIES = "escalationPolicies/"


def read_id(field: str, name: str, collection: str) -> str:
    """
    Return the last part of `collection/{id}`.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    head, slash, last = name.partition("/")
    if head != collection or not slash or not ID.fullmatch(last):
        form = f"must be {collection}/ and an id of A-Z a-z 0-9 . _ ~ - up to 128"
        raise InvalidInput("INVALID_NAME", f"{field} {form}.", field_violations={field: form})
    return last


def id_of_title(title: str) -> str:
    """Return the id of a group that a rule file calls *title*."""
    made = _NOT_ID.sub("-", title).lstrip("._~-")[:128]
    return made if ID.fullmatch(made) else "group"


def timestamp(ms: int) -> Timestamp | None:
    """Return a time of Unix milliseconds; None for 0."""
    if not ms:
        return None
    made = Timestamp()
    made.FromMilliseconds(ms)
    return made


def duration(ms: float) -> Duration:
    """Return a duration of milliseconds."""
    made = Duration()
    made.FromNanoseconds(int(ms * 1_000_000))
    return made


def group_of(given: rule_group_pb2.RuleGroup, group_id: str) -> Group:
    """
    Return the group that a message holds.

    Raises:
        InvalidInput: INVALID_RULES.

    """
    spec: dict[str, Any] = {
        "name": given.title or group_id,
        "interval": _length("rule_group.interval", given.interval),
        "query_offset": _length("rule_group.query_offset", given.query_offset),
        "limit": given.limit,
        "labels": dict(given.labels),
        "rules": [_spec(one) for one in given.rules],
    }
    return _read("rule_group.", spec)


def rule_of(given: rule_group_pb2.Rule) -> Rule:
    """
    Return the rule that a message holds.

    Raises:
        InvalidInput: INVALID_RULES.

    """
    return _read("", {"name": "rule", "rules": [_spec(given)]}).rules[0]


def _read(prefix: str, spec: Mapping[str, Any]) -> Group:
    try:
        return read_group(spec)
    except InvalidInput as error:
        faults = {
            prefix + re.sub(r"\.for$", ".hold", path): why
            for path, why in error.field_violations.items()
        }
        raise InvalidInput(error.reason, str(error), field_violations=faults) from None


def _spec(rule: rule_group_pb2.Rule) -> dict[str, Any]:
    policy = rule.escalation_policy
    return {
        "record": rule.record,
        "alert": rule.alert,
        "expr": rule.expr,
        "for": _length("hold", rule.hold),
        "keep_firing_for": _length("keep_firing_for", rule.keep_firing_for),
        "labels": dict(rule.labels),
        "annotations": dict(rule.annotations),
        "no_data": "" if rule.record else _NO_DATA.get(rule.no_data, NoData.KEEP).value,
        "recovery": rule.recovery if rule.HasField("recovery") else None,
        "escalation": read_id("escalation_policy", policy, _POLICIES[:-1]) if policy else "",
    }


def _length(field: str, given: Duration) -> str | None:
    ms = given.ToMilliseconds()
    if ms < 0:
        raise InvalidInput(
            "INVALID_RULES",
            f"{field} must not be negative.",
            field_violations={field: "must not be negative"},
        )
    return duration_text(ms) if ms else None


def group_message(stored: Stored, running: Running | None) -> rule_group_pb2.RuleGroup:
    """Return a stored group with how it is doing."""
    group = stored.group
    states: Sequence[RuleState | None] = [None] * len(group.rules)
    if running is not None and len(running.rules) == len(group.rules):
        states = [running.states[key] for key in running.rules]
    message = rule_group_pb2.RuleGroup(
        name=f"ruleGroups/{stored.id}",
        title=group.name,
        limit=group.limit,
        labels=dict(group.labels),
        rules=[_rule_message(*pair) for pair in zip(group.rules, states, strict=True)],
        source=stored.source,
        etag=stored.etag,
    )
    if group.interval_ms:
        message.interval.CopyFrom(duration(group.interval_ms))
    if group.offset_ms:
        message.query_offset.CopyFrom(duration(group.offset_ms))
    message.create_time.FromDatetime(stored.create_time)
    message.update_time.FromDatetime(stored.update_time)
    if running is not None:
        if any(state is not None and state.evaluated_ms for state in states):
            message.evaluate_time.FromMilliseconds(running.last_ms)
            message.evaluation_duration.CopyFrom(duration(running.took_s * 1000))
        message.missed_evaluations = running.missed
    return message


def _rule_message(rule: Rule, state: RuleState | None) -> rule_group_pb2.Rule:
    no_data = rule_group_pb2.Rule.NO_DATA_UNSPECIFIED
    if rule.alert:
        keeps = rule.no_data is NoData.KEEP
        no_data = rule_group_pb2.Rule.NO_DATA_KEEP if keeps else rule_group_pb2.Rule.NO_DATA_RESOLVE
    message = rule_group_pb2.Rule(
        record=rule.record,
        alert=rule.alert,
        expr=rule.expr,
        labels=dict(rule.labels),
        annotations=dict(rule.annotations),
        no_data=no_data,
        escalation_policy=f"{_POLICIES}{rule.escalation}" if rule.escalation else "",
        recovery=rule.recovery,
    )
    if rule.hold_ms:
        message.hold.CopyFrom(duration(rule.hold_ms))
    if rule.keep_firing_ms:
        message.keep_firing_for.CopyFrom(duration(rule.keep_firing_ms))
    if state is not None:
        phases = [alert.phase for alert in state.alerts.values()]
        message.health = _HEALTH[state.health]
        message.error = state.error
        if state.failing_ms:
            message.failing_time.FromMilliseconds(state.failing_ms)
        message.pending_alerts = phases.count(Phase.PENDING)
        message.firing_alerts = phases.count(Phase.FIRING)
    return message


def alert_state(alert: Alert) -> alert_pb2.Alert.State.ValueType:
    """Return where an alert stands, in the contract's words."""
    if alert.phase is Phase.PENDING:
        return alert_pb2.Alert.STATE_PENDING
    if alert.phase is Phase.RESOLVED:
        return alert_pb2.Alert.STATE_RESOLVED
    return alert_pb2.Alert.STATE_NO_DATA if alert.no_data_ms else alert_pb2.Alert.STATE_FIRING


def alert_message(one: Listed, silenced_by: Sequence[str]) -> alert_pb2.Alert:
    """Return an alert as it stands."""
    alert, marks = one.alert, one.marks
    message = alert_pb2.Alert(
        name=f"alerts/{one.id}",
        rule_group=f"ruleGroups/{one.group}",
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        value=alert.value,
        state=alert_state(alert),
        flapping=alert.flapping,
        active_time=timestamp(alert.active_ms),
        fire_time=timestamp(alert.fired_ms),
        resolve_time=timestamp(alert.resolved_ms),
        silenced_by=[f"silences/{silence}" for silence in silenced_by],
    )
    if marks.acknowledgement is not None:
        message.acknowledgement.actor = marks.acknowledgement.actor
        message.acknowledgement.comment = marks.acknowledgement.comment
        message.acknowledgement.time.FromMilliseconds(marks.acknowledgement.at_ms)
    if alert.fired_ms:
        receipt = marks.receipt
        message.receipt.CopyFrom(
            alert_pb2.AlertReceipt(
                event_time=timestamp(receipt.event_ms),
                ingest_time=timestamp(receipt.ingested_ms),
                evaluate_time=timestamp(receipt.evaluated_ms),
                send_time=timestamp(receipt.sent_ms),
                deliver_time=timestamp(receipt.delivered_ms),
                route=receipt.route,
            )
        )
    return message


def silence_message(silence: Silence) -> alert_pb2.Silence:
    """Return a silence as it is stored."""
    return alert_pb2.Silence(
        name=f"silences/{silence.id}",
        matchers=silence.matchers,
        start_time=timestamp(silence.start_ms),
        end_time=timestamp(silence.end_ms),
        comment=silence.comment,
        creator=silence.creator,
        etag=silence.etag,
        create_time=timestamp(silence.created_ms),
        update_time=timestamp(silence.updated_ms),
    )
