"""Messages of the contract to the model and back; every fault by its path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aerofusion.telemetry.v1 import objective_pb2 as pb
from meshkit.errors import InvalidInput
from telemetry.alerts.services import wire
from telemetry.objectives import model
from telemetry.objectives.model import Objective
from telemetry.objectives.rules import PAGE, group_ids, groups_of
from telemetry.promql.labels import NAME
from telemetry.promql.limits import QueryLimits
from telemetry.promql.matchers import equals
from telemetry.promql.parse import parse_selector
from telemetry.rules.files import as_spec, read_group


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.alerts.store.objectives import StoredObjective
    from telemetry.objectives.standing import Standing

ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = frozenset({"alertname", "objective", "severity", "window", NAME})
_TITLE_CHARS_MAX, _TEXT_CHARS_MAX = 256, 1_000

Faults = dict[str, str]


def read_id(field: str, name: str) -> str:
    """
    Return the last part of `objectives/{objective}`.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    found = wire.read_id(field, name, "objectives")
    if not ID.fullmatch(found):
        form = "must be objectives/ and an id of a-z 0-9 - up to 63, the first a letter"
        raise InvalidInput("INVALID_NAME", f"{field} {form}.", field_violations={field: form})
    return found


def objective_of(given: pb.Objective, objective_id: str) -> Objective:
    """
    Return the objective that a message holds.

    Raises:
        InvalidInput: INVALID_OBJECTIVE, with every fault by its path.

    """
    faults: Faults = {}
    window_ms = given.window.ToMilliseconds() if given.HasField("window") else model.WINDOW_MS
    events = given.events
    made = Objective(
        id=objective_id,
        title=given.title,
        description=given.description,
        target=given.target,
        window_ms=window_ms,
        total=events.total.strip(),
        bad=events.bad.strip(),
        good=events.good.strip(),
        group_by=tuple(events.group_by),
        page_policy=_policy("page_policy", given.page_policy, faults),
        ticket_policy=_policy("ticket_policy", given.ticket_policy, faults),
        alerts=not given.alerts_disabled,
        labels=tuple(sorted(given.labels.items())),
    )
    _check_texts(made, faults)
    if not 0 < made.target <= model.TARGET_MAX:
        faults["target"] = f"above 0, at most {model.TARGET_MAX}"
    if not model.DAY_MS <= window_ms <= model.WINDOW_MS_MAX or window_ms % model.HOUR_MS:
        faults["window"] = "whole hours, a day to 90 days"
    for name in ("total", given.events.WhichOneof("share") or "bad"):
        _check_selector(name, getattr(made, name), faults)
    _check_labels(made, faults)
    if not faults:
        _check_rules(made, faults)
    if faults:
        field, why = next(iter(faults.items()))
        raise InvalidInput(
            "INVALID_OBJECTIVE",
            f"The objective is not valid: objective.{field}: {why}.",
            field_violations={f"objective.{path}": what for path, what in faults.items()},
        )
    return made


def objective_message(stored: StoredObjective) -> pb.Objective:
    """Return an objective as it is stored."""
    one = stored.objective
    events = pb.EventsIndicator(total=one.total, group_by=one.group_by)
    if one.good:
        events.good = one.good
    else:
        events.bad = one.bad
    message = pb.Objective(
        name=f"objectives/{one.id}",
        title=one.title,
        description=one.description,
        target=one.target,
        window=wire.duration(one.window_ms),
        events=events,
        page_policy=f"escalationPolicies/{one.page_policy}" if one.page_policy else "",
        ticket_policy=f"escalationPolicies/{one.ticket_policy}" if one.ticket_policy else "",
        alerts_disabled=not one.alerts,
        labels=dict(one.labels),
        etag=stored.etag,
        rule_groups=[f"ruleGroups/{group}" for group in group_ids(one.id)],
    )
    message.create_time.FromDatetime(stored.create_time)
    message.update_time.FromDatetime(stored.update_time)
    return message


def status_message(
    objective: Objective, standing: Standing, firing: Sequence[str]
) -> pb.ObjectiveStatus:
    """
    Return how one budget stands.

    Args:
        firing: Severities of its alerts that fire.

    """
    return pb.ObjectiveStatus(
        labels=dict(standing.labels),
        error_share=standing.spent * objective.budget,
        budget_remaining=1 - standing.spent,
        burn_rates=[
            pb.BurnRate(window=wire.duration(window_ms), rate=rate)
            for window_ms, rate in standing.rates.items()
        ],
        exhaust_time=wire.timestamp(standing.exhaust_ms),
        firing_severity=PAGE if PAGE in firing else next(iter(firing), ""),
    )


def _policy(field: str, name: str, faults: Faults) -> str:
    if not name:
        return ""
    try:
        return wire.read_id(field, name, "escalationPolicies")
    except InvalidInput as error:
        faults[field] = error.field_violations[field]
        return ""


def _check_texts(made: Objective, faults: Faults) -> None:
    for field, at_most in (("title", _TITLE_CHARS_MAX), ("description", _TEXT_CHARS_MAX)):
        text = getattr(made, field)
        if len(text) > at_most or "\0" in text:
            faults[field] = f"at most {at_most} characters, none of them NUL"


def _check_selector(name: str, text: str, faults: Faults) -> None:
    path = f"events.{name}"
    if not text:
        faults[path] = "must be set" if name == "total" else "must be set, or good"
        return
    try:
        selection = parse_selector(text, QueryLimits())
    except InvalidInput as error:
        faults[path] = str(error)
        return
    if not equals(selection, NAME):
        faults[path] = "must name a metric"


def _check_labels(made: Objective, faults: Faults) -> None:
    if len(made.group_by) > model.GROUP_BY_MAX:
        faults["events.group_by"] = f"at most {model.GROUP_BY_MAX}"
    if len(made.labels) > model.LABELS_MAX:
        faults["labels"] = f"at most {model.LABELS_MAX}"
    for i, name in enumerate(made.group_by):
        if not _LABEL.fullmatch(name) or name in _RESERVED:
            faults[f"events.group_by[{i}]"] = "no label's name, or one that is given here"
    for name, _ in made.labels:
        if not _LABEL.fullmatch(name) or name in _RESERVED:
            faults[f"labels.{name}"] = "no label's name, or one that is given here"


def _check_rules(made: Objective, faults: Faults) -> None:
    """What is made of it must be rules; whatever isn't is a fault of its texts."""
    for group in groups_of(made).values():
        try:
            read_group(as_spec(group))
        except InvalidInput as error:
            faults["events"] = str(error)
