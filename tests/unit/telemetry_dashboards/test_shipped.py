"""Dashboards that come with telemetry ask for metrics that there are."""

import dataclasses
import re
from pathlib import Path

import pytest

from telemetry.dashboards import wire
from telemetry.dashboards.resolving import Times, resolve
from telemetry.dashboards.shipped import read_shipped
from telemetry.promql.limits import QueryLimits
from telemetry.promql.nodes import Selector
from telemetry.promql.parse import parse
from telemetry.scan.names import metric_name
from telemetry.scan.sink import Kind


METRICS_MD = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"\| `([\w.]+)` \| ([\w -]+) \| ([^|]*) \|")
KINDS = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "up-down counter": Kind.UPDOWN,
    "histogram": Kind.HISTOGRAM,
}
PARTS = ("_bucket", "_sum", "_count")
SHIPPED = read_shipped()


def known():
    """Names in PromQL of all metrics that docs/metrics.md lists."""
    names = set()
    for name, kind, unit in ROW.findall(METRICS_MD.read_text()):
        if kind in KINDS:
            made = metric_name(name, unit.strip(), KINDS[kind])
            parts = PARTS if kind == "histogram" else ("",)
            names |= {made + part for part in parts}
    return names


def asked(node):
    """Names of the metrics that a query reads."""
    if isinstance(node, Selector):
        return {node.name}
    found = set()
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(one) and not isinstance(one, type):
                found |= asked(one)
    return found


async def nothing(_label, _selector):
    return []


@pytest.mark.parametrize("name", SHIPPED)
async def test_every_metric_that_a_shipped_dashboard_asks_for_is_one_we_tell(name):
    board = wire.message(SHIPPED[name])
    await resolve(board, {}, Times(step_ms=15_000, range_ms=3_600_000), nothing)

    names = {
        metric
        for panel in board.panels
        for query in panel.queries
        for metric in asked(parse(query.query, QueryLimits()))
    } | {variable.selector for variable in wire.message(SHIPPED[name]).variables}

    assert names
    assert names - known() == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_dashboard_could_be_stored(name):
    message = wire.message(SHIPPED[name])

    assert wire.message_of_spec(wire.spec_of(message)).title == message.title


@pytest.mark.parametrize("name", SHIPPED)
def test_panels_of_a_shipped_dashboard_do_not_cover_one_another(name):
    taken = set()
    for panel in wire.message(SHIPPED[name]).panels:
        place = panel.place
        cells = {
            (x, y)
            for x in range(place.x, place.x + place.width)
            for y in range(place.y, place.y + place.height)
        }
        assert not taken & cells, panel.title
        taken |= cells
