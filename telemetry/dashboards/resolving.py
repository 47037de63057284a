"""A dashboard's variables: what can be chosen, what is, and queries with that put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aerofusion.telemetry.v1 import dashboard_service_pb2 as pb
from telemetry.dashboards.variables import replaced, times


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aerofusion.telemetry.v1 import dashboard_pb2

    Values = Callable[[str, str], Awaitable[list[str]]]

CHOICES_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What is shown, in milliseconds."""

    step_ms: int
    range_ms: int


async def resolve(
    dashboard: dashboard_pb2.Dashboard, chosen: Mapping[str, str], shown: Times, values: Values
) -> list[pb.VariableChoices]:
    """
    Replace the variables in *dashboard*'s queries, and return what could be chosen.

    Args:
        chosen: Choices of a variable by its name, separated by commas.
        values: Finds the values of a label among the series of a selector.

    """
    fixed = times(shown.step_ms, shown.range_ms)
    multi = frozenset(one.name for one in dashboard.variables if one.multi)
    taken: dict[str, list[str]] = {}
    listed = []
    for variable in dashboard.variables:
        choices = list(variable.options)
        if variable.label_name:
            selector = replaced(variable.selector, taken, fixed, multi)
            choices = (await values(variable.label_name, selector))[:CHOICES_MAX]
        taken[variable.name] = _chosen(variable, chosen.get(variable.name), choices)
        listed.append(
            pb.VariableChoices(variable=variable.name, choices=choices, chosen=taken[variable.name])
        )
    for panel in dashboard.panels:
        panel.title = replaced(panel.title, taken, {}, frozenset())
        for query in panel.queries:
            query.query = replaced(query.query, taken, fixed, multi)
    return listed


def _chosen(
    variable: dashboard_pb2.DashboardVariable, asked: str | None, choices: list[str]
) -> list[str]:
    if asked is not None:
        return [part.strip() for part in asked.split(",") if part.strip()]
    if variable.defaults:
        return list(variable.defaults)
    return [] if variable.multi else choices[:1]
