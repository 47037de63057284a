"""One rule at one time: its expression evaluated, its labels and annotations made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from meshkit.errors import MeshError
from telemetry.promql import nodes
from telemetry.promql.engine import Engine
from telemetry.promql.labels import NAME
from telemetry.promql.limits import QueryLimits
from telemetry.promql.matchers import equals
from telemetry.promql.parse import parse
from telemetry.rules.model import alert_labels, recorded_labels
from telemetry.rules.shapes import comparison_of, shape_of
from telemetry.rules.states import Failed, Found, Holds, Outcome, Phase, RuleState, Timing
from telemetry.rules.template.functions import functions
from telemetry.rules.template.go import Template, TemplateError


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.promql.source import Columns, Source
    from telemetry.rules.model import Group, Rule
    from telemetry.rules.shapes import Comparison, Shape

ALERTS_MAX = 10_000
"""Alerts, or recorded series, of one rule; beyond them its evaluation fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """An alert goes on until another number is reached than the one it began at."""

    begins: Comparison
    node: nodes.Node
    """What holds while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A rule, read."""

    rule: Rule
    key: str
    node: nodes.Node
    timing: Timing
    limit: int
    labels: Labels
    """Those added as they are."""

    label_templates: tuple[tuple[str, Template], ...]
    annotations: tuple[tuple[str, Template], ...]
    shape: Shape | None
    """What it looks like, if it is an alert of a common shape."""

    reads: frozenset[str] | None
    """Names of the series it selects; None: any."""

    recovery: Recovery | None = None
    """How its alerts end, if at another number than they begin at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one evaluation gave."""

    outcome: Outcome
    """Of a rule that alerts: the labels that its condition holds for."""

    recorded: Mapping[Labels, float] = field(default_factory=dict)
    """Of a rule that records."""

    newest_ms: int = 0
    """Time of the newest sample that was looked at; 0: none was."""


NOTHING = Result(outcome=Found(holding={}))
"""The condition holds for nothing."""

NO_DATA = Result(outcome=Found(holding={}, has_data=False))
"""And there is nothing that it could hold for."""


def prepare(group: Group, rule: Rule, limits: QueryLimits) -> Prepared:
    """
    Read the expression and the templates of *rule*.

    Raises:
        InvalidInput: QUERY_INVALID.

    """
    added = group.labels_of(rule)
    templates = [(name, Template(text)) for name, text in added if "{{" in text]
    node = parse(rule.expr, limits)
    return Prepared(
        rule=rule,
        key=rule.key,
        node=node,
        timing=Timing(
            hold_ms=rule.hold_ms, keep_firing_ms=rule.keep_firing_ms, no_data=rule.no_data
        ),
        limit=min(group.limit or ALERTS_MAX, ALERTS_MAX),
        labels=tuple(pair for pair in added if "{{" not in pair[1]),
        label_templates=tuple(templates),
        annotations=tuple((name, Template(text)) for name, text in rule.annotations),
        shape=shape_of(node) if rule.alert else None,
        reads=_names(node),
        recovery=recovery_of(rule, node),
    )


def evaluate(
    prepared: Prepared,
    source: Source,
    at_ms: int,
    limits: QueryLimits,
    firing: frozenset[Labels] = frozenset(),
) -> Result:
    """
    Evaluate a rule. Blocking: call it on a worker thread. It never raises for the rule's fault.

    Args:
        firing: Labels of the alerts that fire, of a rule that says how they recover.

    """
    watched = Watched(source)
    engine = Engine(source=watched, limits=limits)
    try:
        # What has begun goes on by another number, which more satisfies.
        goes_on = prepared.recovery if firing else None
        node = prepared.node if goes_on is None else goes_on.node
        answer = engine.instant(prepared.rule.expr, at_ms, parsed=node)
        if any(one.histogram is not None for one in answer.series):
            return _failed(
                "the rule gives native histograms; take histogram_count(), histogram_quantile() "
                "or the like of them",
                watched,
            )
        rows = [(one.labels, float(one.values[-1])) for one in answer.series if len(one.values)]
        if len(rows) > prepared.limit:
            return _failed(f"exceeded limit of {prepared.limit} with {len(rows)} series", watched)
        if prepared.rule.record:
            return _record(prepared, rows, watched)
        result = _alert(prepared, rows, watched, engine, at_ms)
        return result if goes_on is None else _going_on(result, goes_on, firing)
    except MeshError as error:
        return _failed(str(error), watched)


def _record(prepared: Prepared, rows: list[tuple[Labels, float]], watched: Watched) -> Result:
    recorded = {
        recorded_labels(labels, prepared.labels, prepared.rule.record): value
        for labels, value in rows
    }
    if len(recorded) != len(rows):
        return _failed("two series are the same with the rule's labels", watched)
    return Result(
        outcome=Found(holding={}, has_data=watched.has_data),
        recorded=recorded,
        newest_ms=watched.newest_ms,
    )


def _alert(
    prepared: Prepared,
    rows: list[tuple[Labels, float]],
    watched: Watched,
    engine: Engine,
    at_ms: int,
) -> Result:
    def query(text: str) -> list[dict[str, object]]:
        try:
            answer = engine.instant(str(text), at_ms)
        except MeshError as error:
            raise TemplateError(str(error)) from None
        return [
            {"Labels": dict(one.labels), "Value": float(one.values[-1])} for one in answer.series
        ]

    has_data, newest_ms = watched.has_data, watched.newest_ms
    calls = functions(query=query, now=at_ms / 1000)
    holding: dict[Labels, Holds] = {}
    for labels, value in rows:
        variables = _variables(labels, value)
        added = dict(prepared.labels)
        for name, template in prepared.label_templates:
            added[name] = _expanded(template, variables, calls)
        full = alert_labels(labels, tuple(added.items()), prepared.rule.alert)
        if full in holding:
            return _failed("two alerts are the same with the rule's labels", watched)
        annotations = tuple(
            (name, _expanded(template, variables, calls)) for name, template in prepared.annotations
        )
        holding[full] = Holds(value=value, annotations=annotations, event_ms=newest_ms)
    return Result(outcome=Found(holding=holding, has_data=has_data), newest_ms=newest_ms)


def _going_on(result: Result, goes_on: Recovery, firing: frozenset[Labels]) -> Result:
    """Return *result* with what has begun, or begins now, alone."""
    if not isinstance(result.outcome, Found):
        return result
    holding = {
        labels: holds
        for labels, holds in result.outcome.holding.items()
        if labels in firing or goes_on.begins.holds(holds.value)
    }
    return replace(result, outcome=replace(result.outcome, holding=holding))


def recovery_of(rule: Rule, node: nodes.Node | None = None) -> Recovery | None:
    """
    Return how alerts of *rule* end; None: when its condition does.

    Args:
        node: Its expression, if whoever asks has read it already.

    """
    if rule.recovery is None:
        return None
    begins = comparison_of(node or parse(rule.expr, QueryLimits()))
    if begins is None:
        return None
    return Recovery(
        begins=begins,
        node=nodes.Binary(
            op=begins.op,
            left=begins.series,
            right=nodes.Number(rule.recovery),
            returns_bool=False,
            matching=nodes.Matching(),
        ),
    )


def _failed(error: str, watched: Watched) -> Result:
    return Result(outcome=Failed(error=error), newest_ms=watched.newest_ms)


def _variables(labels: Labels, value: float) -> dict[str, object]:
    named: dict[str, object] = dict(labels)
    return {
        "$": {"Labels": named, "Value": value, "ExternalLabels": {}, "ExternalURL": ""},
        "$labels": named,
        "$value": value,
        "$externalLabels": {},
        "$externalURL": "",
    }


def _expanded(
    template: Template, variables: Mapping[str, object], calls: Mapping[str, object]
) -> str:
    if template.is_constant:
        return template.run({}, {})
    try:
        return template.run(variables, calls)  # type: ignore[arg-type]  # functions of any kind
    except TemplateError as error:
        return f"<error expanding template: {error}>"


class Watched:
    """A source that remembers whether anything was found, and how new it was."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.asked = 0
        self.found = 0
        self.newest_ms = 0

    @property
    def has_data(self) -> bool:
        """Whether there was a sample, or nothing was asked for."""
        return self.found > 0 or self.asked == 0

    def select(
        self, selection: Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        """Return what the source finds."""
        columns = self._source.select(selection, start_ms, end_ms, series_max=series_max)
        self.asked += 1
        if columns.ts.size:
            self.found += 1
            self.newest_ms = max(self.newest_ms, int(columns.ts.max()))
        return columns


def _names(node: nodes.Node) -> frozenset[str] | None:
    """Return the names of all series that *node* selects; None if one may have any name."""
    names = [equals(selection, NAME) for selection in _selections(node)]
    return None if "" in names else frozenset(names)


def _selections(node: nodes.Node) -> Iterator[Selection]:
    match node:
        case nodes.Selector():
            yield node.selection
        case nodes.Range():
            yield node.selector.selection
        case nodes.Subquery() | nodes.Unary():
            yield from _selections(node.expr)
        case nodes.Call():
            for argument in node.args:
                yield from _selections(argument)
        case nodes.Aggregate():
            yield from _selections(node.expr)
            if node.param is not None:
                yield from _selections(node.param)
        case nodes.Binary():
            yield from _selections(node.left)
            yield from _selections(node.right)


def stages(rules: Mapping[str, Prepared]) -> list[list[str]]:
    """Return the rules' keys in order, a new stage wherever a rule reads what one records."""
    found: list[list[str]] = [[]]
    recorded: set[str] = set()
    for key, prepared in rules.items():
        if recorded and (prepared.reads is None or prepared.reads & recorded):
            found.append([])
            recorded = set()
        found[-1].append(key)
        if prepared.rule.record:
            recorded.add(prepared.rule.record)
        else:
            recorded |= {"ALERTS", "ALERTS_FOR_STATE"}
    return found


def firing_of(prepared: Prepared, state: RuleState) -> frozenset[Labels]:
    """Return the labels of what fires, where the rule says how that recovers."""
    if prepared.recovery is None:
        return frozenset()
    return frozenset(
        labels for labels, alert in state.alerts.items() if alert.phase is Phase.FIRING
    )


def screened(prepared: Prepared, state: RuleState) -> Shape | None:
    """Return the rule's shape; None if it isn't to be screened by that: it goes on by another."""
    return None if firing_of(prepared, state) else prepared.shape
