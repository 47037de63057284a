"""Prometheus's rule files: YAML to groups and back. What promtool refuses is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from meshkit.errors import InvalidInput
from telemetry.promql import nodes
from telemetry.promql.limits import QueryLimits
from telemetry.promql.parse import parse
from telemetry.rules.model import (
    RULES_MAX,
    Group,
    NoData,
    Rule,
    duration_text,
    parse_duration,
)
from telemetry.rules.shapes import comparison_of
from telemetry.rules.template.go import Template, TemplateError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.labels import Labels

FILE_BYTES_MAX = 4 * 1024 * 1024
"""A rule file's length."""

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NAME_CHARS_MAX = 256
_TEXT_CHARS_MAX = 32_768
_PAIRS_MAX = 64
OURS = ("no_data", "recovery", "escalation")
"""Fields of a rule that Prometheus doesn't know."""

_OF_ALERTS = ("annotations", "for", "keep_firing_for", "no_data", "recovery", "escalation")
_NULLS = (None, "", "~", "null")
_GROUP_FIELDS = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE_FIELDS = (
    "record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations",
    "no_data", "recovery", "escalation",
)  # fmt: skip


class _Loader(yaml.BaseLoader):
    """All scalars are texts, as in Prometheus's typed fields; a key that stands twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_groups(text: str) -> list[Group]:
    """
    Return the groups of a rule file.

    Raises:
        InvalidInput: INVALID_RULES, with every fault by its path, such as
            `groups[0].rules[2].expr`.

    """
    if len(text) > FILE_BYTES_MAX:
        raise InvalidInput(
            "INVALID_RULES", "The rule file is too long.", bytes_max=str(FILE_BYTES_MAX)
        )
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - it makes texts, lists and mappings only
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput("INVALID_RULES", f"The rule file is not YAML: {error}") from None
    faults: dict[str, str] = {}
    if document in _NULLS:
        return []
    if not isinstance(document, dict) or set(document) - {"groups"}:
        faults["groups"] = "a rule file has groups and nothing else"
        found: list[Any] = []
    else:
        found = _sequence(document.get("groups"), "groups", faults)
    groups = [_group(one, f"groups[{i}]", faults) for i, one in enumerate(found)]
    names = [group.name for group in groups]
    for i, name in enumerate(names):
        if name in names[:i]:
            faults[f"groups[{i}].name"] = f"{name!r} stands twice"
    raise_if_any(faults)
    return groups


def read_group(spec: Mapping[str, Any]) -> Group:
    """
    Return a group of its fields, named as in a rule file.

    Raises:
        InvalidInput: INVALID_RULES.

    """
    faults: dict[str, str] = {}
    group = _group(spec, "", faults)
    raise_if_any(faults)
    return group


def raise_if_any(faults: Mapping[str, str]) -> None:
    """Raise InvalidInput INVALID_RULES if there are *faults*."""
    if faults:
        first = next(iter(faults.items()))
        raise InvalidInput(
            "INVALID_RULES",
            f"The rules are not valid: {first[0]}: {first[1]}",
            field_violations=faults,
        )


def as_spec(group: Group) -> dict[str, Any]:
    """Return *group* as the fields of a rule file; what is at its default is left out."""
    spec: dict[str, Any] = {"name": group.name}
    if group.interval_ms:
        spec["interval"] = duration_text(group.interval_ms)
    if group.offset_ms:
        spec["query_offset"] = duration_text(group.offset_ms)
    if group.limit:
        spec["limit"] = group.limit
    if group.labels:
        spec["labels"] = dict(group.labels)
    spec["rules"] = [_rule_spec(rule) for rule in group.rules]
    return spec


def as_yaml(groups: Sequence[Group], *, plain: bool = False) -> str:
    """
    Return a rule file of *groups*.

    Args:
        plain: Without what Prometheus doesn't know, and with labels of groups in each of their
            rules, so that any Prometheus takes the file.

    """
    specs = [as_spec(group) for group in groups]
    if plain:
        for spec in specs:
            added = spec.pop("labels", {})
            for rule in spec["rules"]:
                for name in OURS:
                    rule.pop(name, None)
                if added:
                    rule["labels"] = added | rule.get("labels", {})
    document = {"groups": specs}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _rule_spec(rule: Rule) -> dict[str, Any]:
    spec: dict[str, Any] = {"record": rule.record} if rule.record else {"alert": rule.alert}
    spec["expr"] = rule.expr
    if rule.hold_ms:
        spec["for"] = duration_text(rule.hold_ms)
    if rule.keep_firing_ms:
        spec["keep_firing_for"] = duration_text(rule.keep_firing_ms)
    if rule.labels:
        spec["labels"] = dict(rule.labels)
    if rule.annotations:
        spec["annotations"] = dict(rule.annotations)
    if rule.recovery is not None:
        spec["recovery"] = rule.recovery
    if rule.no_data is not NoData.KEEP:
        spec["no_data"] = rule.no_data.value
    if rule.escalation:
        spec["escalation"] = rule.escalation
    return spec


def _group(given: object, at: str, faults: dict[str, str]) -> Group:
    spec = _mapping(given, at, _GROUP_FIELDS, faults)
    name = _text(spec, "name", at, faults)
    if not name or len(name) > _NAME_CHARS_MAX:
        faults[_path(at, "name")] = f"1 to {_NAME_CHARS_MAX} characters"
    limit = _text(spec, "limit", at, faults) or "0"
    if not limit.isdecimal() or len(limit) > 9:
        faults[_path(at, "limit")] = "a whole number of at least 0"
        limit = "0"
    found = _sequence(spec.get("rules"), _path(at, "rules"), faults)
    if len(found) > RULES_MAX:
        faults[_path(at, "rules")] = f"at most {RULES_MAX}"
    rules = [
        _rule(one, _path(at, f"rules[{i}]"), faults) for i, one in enumerate(found[:RULES_MAX])
    ]
    return Group(
        name=name,
        interval_ms=_duration(spec, "interval", at, faults),
        offset_ms=_duration(spec, "query_offset", at, faults),
        limit=int(limit),
        labels=_pairs(spec, "labels", at, faults),
        rules=tuple(rules),
    )


def _rule(given: object, at: str, faults: dict[str, str]) -> Rule:
    spec = _mapping(given, at, _RULE_FIELDS, faults)
    record, alert = _text(spec, "record", at, faults), _text(spec, "alert", at, faults)
    if bool(record) == bool(alert):
        faults[at] = "either record or alert must be set"
    if record and not _METRIC_NAME.fullmatch(record):
        faults[_path(at, "record")] = "not a metric's name"
    if record:
        for name in _OF_ALERTS:
            if spec.get(name):
                faults[_path(at, name)] = "only for rules that alert"
    expr = _text(spec, "expr", at, faults).strip()
    _check_expr(expr, _path(at, "expr"), faults)
    no_data = _text(spec, "no_data", at, faults) or NoData.KEEP.value
    if no_data not in set(NoData):
        faults[_path(at, "no_data")] = f"one of {', '.join(NoData)}"
        no_data = NoData.KEEP.value
    return Rule(
        record=record,
        alert=alert,
        expr=expr,
        hold_ms=_duration(spec, "for", at, faults),
        keep_firing_ms=_duration(spec, "keep_firing_for", at, faults),
        labels=_pairs(spec, "labels", at, faults),
        annotations=_pairs(spec, "annotations", at, faults),
        no_data=NoData(no_data),
        recovery=_recovery(spec, expr, at, faults),
        escalation=_text(spec, "escalation", at, faults),
    )


def _recovery(spec: Mapping[str, Any], expr: str, at: str, faults: dict[str, str]) -> float | None:
    """Return the number at which the alert ends, if it isn't that of *expr*."""
    given = _text(spec, "recovery", at, faults)
    if not given or _path(at, "expr") in faults:
        return None
    path = _path(at, "recovery")
    begins = comparison_of(parse(expr, QueryLimits()))
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if begins is None or begins.op in {"==", "!="}:
        faults[path] = "only where expr is greater, or less, than a number"
    elif not math.isfinite(number):
        faults[path] = "a number"
    elif begins.op.startswith(">") and number > begins.limit:
        faults[path] = "must not be above the number in expr"
    elif begins.op.startswith("<") and number < begins.limit:
        faults[path] = "must not be below the number in expr"
    else:
        return number
    return None


def _check_expr(expr: str, at: str, faults: dict[str, str]) -> None:
    if not expr:
        faults[at] = "must be set"
        return
    try:
        node = parse(expr, QueryLimits())
    except InvalidInput as error:
        faults[at] = str(error)
        return
    if isinstance(node, nodes.Range | nodes.Subquery | nodes.String):
        faults[at] = "must be an instant vector or a scalar"


def _pairs(spec: Mapping[str, Any], name: str, at: str, faults: dict[str, str]) -> Labels:
    """Return labels or annotations; values may be templates."""
    given = spec.get(name)
    if given in _NULLS:
        return ()
    path = _path(at, name)
    if not isinstance(given, dict) or len(given) > _PAIRS_MAX:
        faults[path] = f"a mapping of at most {_PAIRS_MAX} names to texts"
        return ()
    pairs: dict[str, str] = {}
    for key, value in given.items():
        where = f"{path}.{key}"
        if not isinstance(key, str) or not _LABEL_NAME.fullmatch(key):
            faults[where] = "not a label's name"
        elif name == "labels" and key in {"__name__", "alertname"}:
            faults[where] = "given by the rule itself"
        elif isinstance(value, dict | list) or len(str(value)) > _TEXT_CHARS_MAX:
            faults[where] = f"a text of at most {_TEXT_CHARS_MAX} characters"
        else:
            pairs[key] = "" if value is None else str(value)
            try:
                Template(pairs[key])
            except TemplateError as error:
                faults[where] = str(error)
    return tuple(sorted(pairs.items()))


def _duration(spec: Mapping[str, Any], name: str, at: str, faults: dict[str, str]) -> int:
    given = spec.get(name)
    if given in _NULLS:
        return 0
    try:
        return parse_duration(str(given))
    except ValueError as error:
        faults[_path(at, name)] = str(error)
        return 0


def _text(spec: Mapping[str, Any], name: str, at: str, faults: dict[str, str]) -> str:
    given = spec.get(name)
    if given in _NULLS:
        return ""
    if isinstance(given, dict | list | bool) or len(str(given)) > _TEXT_CHARS_MAX:
        faults[_path(at, name)] = f"a text of at most {_TEXT_CHARS_MAX} characters"
        return ""
    return str(given)


def _mapping(
    given: object, at: str, fields: Sequence[str], faults: dict[str, str]
) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        faults[at] = "a mapping of fields"
        return {}
    for name in given:
        if name not in fields:
            faults[_path(at, str(name))] = f"no such field; one of {', '.join(fields)}"
    return given


def _sequence(given: object, at: str, faults: dict[str, str]) -> list[Any]:
    if given in _NULLS:
        return []
    if not isinstance(given, list):
        faults[at] = "a list"
        return []
    return given


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
