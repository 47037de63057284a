"""The message `Routing` to the model; every fault by its path."""

from __future__ import annotations

import re
from datetime import date, time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.json_format import MessageToDict, ParseDict

from aerofusion.telemetry.v1 import routing_pb2
from meshkit.errors import InvalidInput
from telemetry.alerts import routing as model
from telemetry.alerts.model import MATCHERS_MAX, selection_of


if TYPE_CHECKING:
    from collections.abc import Sequence

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")
_RECIPIENT = re.compile(r"tenants/[^/\s]{1,128}/recipients/[^/\s]{1,128}")
_TARGET = re.compile(r"tenants/[^/\s]{1,128}/(recipients|topics)/[^/\s]{1,128}|schedules/[^/\s]+")
_MAIL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,255}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OBJECTS_MAX, _STEPS_MAX, _TARGETS_MAX, _NAMES_MAX = 100, 10, 20, 20
_PARTICIPANTS_MAX, _OVERRIDES_MAX, _TURN_DAYS_MAX = 100, 1_000, 366

Faults = dict[str, str]


def routing_of(given: routing_pb2.Routing) -> model.Routing:
    """
    Return what a message says.

    Raises:
        InvalidInput: INVALID_ROUTING, with every fault by its path.

    """
    faults: Faults = {}
    for name in ("policies", "schedules", "inhibit_rules"):
        if len(getattr(given, name)) > _OBJECTS_MAX:
            faults[name] = f"at most {_OBJECTS_MAX}"
    made = model.Routing(
        policies=tuple(
            _policy(one, f"policies[{i}].", faults) for i, one in enumerate(given.policies)
        ),
        schedules=tuple(
            _schedule(one, f"schedules[{i}].", faults) for i, one in enumerate(given.schedules)
        ),
        inhibitions=tuple(
            _inhibition(one, f"inhibit_rules[{i}].", faults)
            for i, one in enumerate(given.inhibit_rules)
        ),
    )
    _check_ids("policies", [one.id for one in made.policies], faults)
    schedules = [one.id for one in made.schedules]
    _check_ids("schedules", schedules, faults)
    for i, policy in enumerate(given.policies):
        for j, step in enumerate(policy.steps):
            for target in step.targets:
                kind, _, name = target.partition("/")
                if kind == "schedules" and name not in schedules:
                    faults[f"policies[{i}].steps[{j}].targets"] = f"there is no {target}"
    if faults:
        field, why = next(iter(faults.items()))
        raise InvalidInput(
            "INVALID_ROUTING",
            f"The routing is not valid: routing.{field}: {why}.",
            field_violations={f"routing.{path}": what for path, what in faults.items()},
        )
    return made


def routing_of_json(spec: dict[str, Any]) -> model.Routing:
    """Return the routing that is stored as *spec*."""
    return routing_of(message_of_json(spec))


def message_of_json(spec: dict[str, Any]) -> routing_pb2.Routing:
    """Return the message that is stored as *spec*."""
    return ParseDict(spec, routing_pb2.Routing(), ignore_unknown_fields=True)


def json_of(given: routing_pb2.Routing) -> dict[str, Any]:
    """Return a message as JSON to store, without what the server adds."""
    kept = routing_pb2.Routing()
    kept.CopyFrom(given)
    kept.ClearField("etag")
    kept.ClearField("update_time")
    return MessageToDict(kept)


def _check_ids(name: str, ids: Sequence[str], faults: Faults) -> None:
    for i, one in enumerate(ids):
        if not _ID.fullmatch(one):
            faults[f"{name}[{i}].id"] = "1 to 128 of A-Z a-z 0-9 . _ ~ -"
        elif one in ids[:i]:
            faults[f"{name}[{i}].id"] = "stands twice"


def _policy(given: routing_pb2.EscalationPolicy, at: str, faults: Faults) -> model.Policy:
    if not 1 <= len(given.steps) <= _STEPS_MAX:
        faults[f"{at}steps"] = f"1 to {_STEPS_MAX}"
    steps: list[model.Step] = []
    for i, step in enumerate(given.steps):
        after_ms = step.after.ToMilliseconds()
        if after_ms < 0 or (steps and after_ms <= steps[-1].after_ms):
            faults[f"{at}steps[{i}].after"] = "later than the step before"
        if not 1 <= len(step.targets) <= _TARGETS_MAX:
            faults[f"{at}steps[{i}].targets"] = f"1 to {_TARGETS_MAX}"
        for target in step.targets:
            if not _TARGET.fullmatch(target):
                faults[f"{at}steps[{i}].targets"] = (
                    f"{target[:100]!r} is no recipient, topic or schedule"
                )
        steps.append(model.Step(after_ms=after_ms, targets=tuple(step.targets)))
    _check_labels(f"{at}group_by", given.group_by, faults)
    _check_all(f"{at}fallback_mails", given.fallback_mails, _MAIL.fullmatch, faults)
    _check_all(f"{at}fallback_webhooks", given.fallback_webhooks, _is_address, faults)
    wait_ms = given.followers_wait.ToMilliseconds()
    repeat_ms = given.repeat_interval.ToMilliseconds()
    if wait_ms < 0:
        faults[f"{at}followers_wait"] = "must not be negative"
    if given.HasField("repeat_interval") and repeat_ms < 60_000:
        faults[f"{at}repeat_interval"] = "at least a minute"
    return model.Policy(
        id=given.id,
        group_by=tuple(given.group_by),
        followers_wait_ms=(
            wait_ms if given.HasField("followers_wait") else model.FOLLOWERS_WAIT_MS
        ),
        repeat_ms=repeat_ms if given.HasField("repeat_interval") else model.REPEAT_MS,
        steps=tuple(steps),
        fallback_mails=tuple(given.fallback_mails),
        fallback_webhooks=tuple(given.fallback_webhooks),
    )


def _schedule(given: routing_pb2.Schedule, at: str, faults: Faults) -> model.Schedule:
    zone = given.time_zone or "UTC"
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults[f"{at}time_zone"] = "no time zone such as Europe/Berlin"
        zone = "UTC"
    start, handover = date(1970, 1, 1), time()
    try:
        start = date.fromisoformat(given.start_date)
    except ValueError:
        faults[f"{at}start_date"] = "must be YYYY-MM-DD"
    try:
        handover = time.fromisoformat(given.handover or "00:00")
    except ValueError:
        faults[f"{at}handover"] = "must be HH:MM"
    if not 1 <= len(given.participants) <= _PARTICIPANTS_MAX:
        faults[f"{at}participants"] = f"1 to {_PARTICIPANTS_MAX}"
    people = [*given.participants, *(one.participant for one in given.overrides)]
    if not all(_RECIPIENT.fullmatch(one) for one in people):
        faults[f"{at}participants"] = "each tenants/{tenant}/recipients/{recipient}"
    turn_days = given.turn_days or model.TURN_DAYS
    if not 1 <= turn_days <= _TURN_DAYS_MAX:
        faults[f"{at}turn_days"] = f"1 to {_TURN_DAYS_MAX}"
        turn_days = 1
    if len(given.overrides) > _OVERRIDES_MAX:
        faults[f"{at}overrides"] = f"at most {_OVERRIDES_MAX}"
    overrides = []
    for i, one in enumerate(given.overrides):
        start_ms, end_ms = one.start_time.ToMilliseconds(), one.end_time.ToMilliseconds()
        if not start_ms < end_ms:
            faults[f"{at}overrides[{i}].end_time"] = "after its start"
        overrides.append(
            model.Override(start_ms=start_ms, end_ms=end_ms, participant=one.participant)
        )
    return model.Schedule(
        id=given.id,
        time_zone=zone,
        participants=tuple(given.participants) or ("",),
        start_date=start,
        handover=handover.replace(tzinfo=None),
        turn_days=turn_days,
        overrides=tuple(overrides),
    )


def _inhibition(given: routing_pb2.InhibitRule, at: str, faults: Faults) -> model.Inhibition:
    for name in ("source_matchers", "target_matchers"):
        texts = getattr(given, name)
        if not 1 <= len(texts) <= MATCHERS_MAX:
            faults[at + name] = f"1 to {MATCHERS_MAX}"
            continue
        try:
            selection_of(texts)
        except InvalidInput as error:
            faults[at + name] = str(error)
    _check_labels(f"{at}equal", given.equal, faults)
    return model.Inhibition(
        source=tuple(given.source_matchers),
        target=tuple(given.target_matchers),
        equal=tuple(given.equal),
    )


def _check_labels(path: str, names: Sequence[str], faults: Faults) -> None:
    _check_all(path, names, _LABEL.fullmatch, faults)


def _check_all(path: str, texts: Sequence[str], good: Any, faults: Faults) -> None:
    if len(texts) > _NAMES_MAX:
        faults[path] = f"at most {_NAMES_MAX}"
    for text in texts:
        if not good(text):
            faults[path] = f"{text[:100]!r} can't be used here"


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and len(text) <= 2_000
