"""Rule files, durations, the grid, and what a rule would have done."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.promql.engine import Answer, Series
from telemetry.promql.labels import make
from telemetry.promql.nodes import Kind
from telemetry.rules import grid
from telemetry.rules.files import as_yaml, read_groups
from telemetry.rules.history import grid_of, replay
from telemetry.rules.model import NoData, duration_text, parse_duration
from telemetry.rules.recording import Sample, encode
from telemetry.rules.states import Timing


FILE = """
groups:
  - name: edge
    interval: 15s
    query_offset: 1m
    limit: 10
    labels: {team: edge}
    rules:
      - record: job:requests:rate5m
        expr: sum by (job) (rate(requests_total[5m]))
        labels: {source: rules}
      - alert: TooManyErrors
        expr: |
          job:errors:ratio > 0.1
        for: 1h30m
        keep_firing_for: 5m
        labels: {severity: page, level: 1, on: true}
        annotations:
          summary: '{{ $labels.job }}: {{ $value | humanizePercentage }}'
  - name: empty
    rules: []
"""


def test_a_rule_file_is_read_and_written_as_it_is():
    groups = read_groups(FILE)
    first, second = groups[0].rules
    assert groups[0].interval_ms == 15_000
    assert groups[0].offset_ms == 60_000
    assert groups[0].labels_of(first) == (("source", "rules"), ("team", "edge"))
    assert first.record == "job:requests:rate5m"
    assert second.hold_ms == 5_400_000
    assert second.labels == (("level", "1"), ("on", "true"), ("severity", "page"))
    assert second.no_data is NoData.KEEP
    assert groups[1].rules == ()
    assert read_groups(as_yaml(groups)) == groups


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("groups: [{name: a, rules: [{alert: A, expr: up, fro: 5m}]}]", "groups[0].rules[0].fro"),
        ("groups: [{name: a, rules: [{expr: up}]}]", "groups[0].rules[0]"),
        ("groups: [{name: a, rules: [{alert: A, record: b, expr: up}]}]", "groups[0].rules[0]"),
        ("groups: [{name: a, rules: [{alert: A, expr: 'up ='}]}]", "groups[0].rules[0].expr"),
        ("groups: [{name: a, rules: [{alert: A}]}]", "groups[0].rules[0].expr"),
        ("groups: [{name: a, rules: [{alert: A, expr: 'up[5m]'}]}]", "groups[0].rules[0].expr"),
        ("groups: [{name: a, rules: [{record: 'a b', expr: up}]}]", "groups[0].rules[0].record"),
        (
            "groups: [{name: a, rules: [{record: a, expr: up, for: 5m}]}]",
            "groups[0].rules[0].for",
        ),
        ("groups: [{name: a, rules: [{alert: A, expr: up, for: 5}]}]", "groups[0].rules[0].for"),
        (
            "groups: [{name: a, rules: [{alert: A, expr: up, labels: {__name__: b}}]}]",
            "groups[0].rules[0].labels.__name__",
        ),
        (
            "groups: [{name: a, rules: [{alert: A, expr: up, annotations: {s: '{{ if }}'}}]}]",
            "groups[0].rules[0].annotations.s",
        ),
        (
            "groups: [{name: a, rules: [{alert: A, expr: 'up > 1', recovery: 2}]}]",
            "groups[0].rules[0].recovery",
        ),
        (
            "groups: [{name: a, rules: [{alert: A, expr: '1 > up', recovery: 0.5}]}]",
            "groups[0].rules[0].recovery",
        ),
        (
            "groups: [{name: a, rules: [{alert: A, expr: 'up == 1', recovery: 1}]}]",
            "groups[0].rules[0].recovery",
        ),
        (
            "groups: [{name: a, rules: [{record: a, expr: 'up > 1', recovery: 1}]}]",
            "groups[0].rules[0].recovery",
        ),
        ("groups: [{name: a}, {name: a}]", "groups[1].name"),
        ("groups: [{rules: []}]", "groups[0].name"),
        ("rules: []", "groups"),
    ],
)
def test_a_fault_is_told_by_its_path(text, path):
    with pytest.raises(InvalidInput) as refused:
        read_groups(text)
    assert refused.value.reason == "INVALID_RULES"
    assert path in refused.value.field_violations


@pytest.mark.parametrize("text", ["a: b: c", "{a: 1, a: 2}", "[" * 5000, "x" * 5_000_000])
def test_what_is_no_yaml_is_refused(text):
    with pytest.raises(InvalidInput):
        read_groups(text)


@given(st.integers(0, 10**12))
def test_a_duration_reads_as_it_is_written(ms):
    assert parse_duration(duration_text(ms)) == ms


@pytest.mark.parametrize(("ms", "text"), [(0, "0s"), (5_400_000, "1h30m"), (86_400_000 * 14, "2w")])
def test_durations_are_written_as_prometheus_writes_them(ms, text):
    assert duration_text(ms) == text


@pytest.mark.parametrize("text", ["", "5", "1m1h", "-1s", "1.5h", "200y"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|century"):
        parse_duration(text)


@given(
    st.integers(1, 100_000),
    st.integers(0, 100_000),
    st.lists(st.integers(0, 20_000), max_size=30),
)
def test_no_tick_is_dropped_and_none_runs_twice(interval, offset, waits):
    last = now = 1_000_000
    ran = []
    for wait in waits:
        now += wait
        found = grid.due(interval_ms=interval, offset=offset, last_ms=last, now_ms=now)
        ran += found.ticks
        if found.ticks:
            last = found.ticks[-1]
        if wait <= grid.CATCH_UP_MS and wait // interval < grid.TICKS_MAX:
            assert found.missed == 0
        assert all((tick - offset) % interval == 0 for tick in found.ticks)
        assert grid.next_ms(interval_ms=interval, offset=offset, now_ms=now) > now
    assert ran == sorted(set(ran))


def test_a_long_absence_is_caught_up_with_as_far_as_bounds_allow():
    found = grid.due(interval_ms=1_000, offset=0, last_ms=0, now_ms=10_000_000)
    assert len(found.ticks) == grid.TICKS_MAX
    assert found.ticks[-1] == 10_000_000
    assert found.missed == 10_000 - grid.TICKS_MAX


def test_groups_spread_over_their_interval_in_whole_steps():
    offsets = {grid.offset_ms(f"group-{i}", 60_000, 1_000) for i in range(200)}
    assert len(offsets) > 30
    assert all(0 <= one < 60_000 and one % 1_000 == 0 for one in offsets)
    assert grid.offset_ms("any", 1_000, 1_000) == 0


def _answer(**rows):
    series = [
        Series(
            labels=make({"__name__": "up", "n": name}),
            ts=np.array(times, np.int64) * 1_000,
            values=np.ones(len(times)),
        )
        for name, times in rows.items()
    ]
    return Answer(kind=Kind.MATRIX, series=series, text="", warnings=(), infos=(), samples=0)


def test_a_dry_run_tells_what_a_rule_would_have_done():
    answer = _answer(a=[*range(10, 21), *range(40, 61), 70], b=range(90, 101))
    history = replay(
        answer,
        timing=Timing(hold_ms=5_000),
        alert="Down",
        added=(("severity", "page"),),
        grid=(0, 100_000, 1_000),
    )
    assert history.firings == 3
    assert history.pendings == 1
    assert [(one.fired_ms, one.resolved_ms) for one in history.episodes] == [
        (15_000, 21_000),
        (45_000, 61_000),
        (95_000, 0),
    ]
    assert history.median_ms == 6_000
    assert history.episodes[0].labels == make({"alertname": "Down", "n": "a", "severity": "page"})


def test_a_long_history_is_looked_at_in_coarser_steps():
    day = 86_400_000
    start, end, step = grid_of(0, 90 * day, 1_000, 11_000)
    assert (end - start) // step < 11_000
    assert step % 1_000 == 0
    assert grid_of(500, 60_000, 1_000, 11_000) == (1_000, 60_000, 1_000)


def test_what_is_recorded_keeps_its_name_and_ends_where_it_must():
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    labels = make({"__name__": "job:up:sum", "job": "a"})
    request = ExportMetricsServiceRequest.FromString(
        encode(
            [
                Sample(labels=labels, at_ms=1_000, value=2.5),
                Sample(labels=labels, at_ms=2_000, value=0, ended=True),
            ]
        )
    )
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    first, second = metric.gauge.data_points
    assert metric.name == "job:up:sum"
    assert (first.time_unix_nano, first.as_double, first.flags) == (1_000_000_000, 2.5, 0)
    assert (second.time_unix_nano, second.flags) == (2_000_000_000, 1)


def test_the_rules_of_the_mesh_are_valid_and_have_a_runbook():
    from pathlib import Path

    root = Path(__file__).parents[3]
    found = read_groups((root / "deploy/rules/mesh.yaml").read_text())
    runbook = (root / "docs/runbooks/alerts.md").read_text()
    alerts = [rule.alert for group in found for rule in group.rules if rule.alert]
    assert alerts
    assert [one for one in alerts if f"## {one}\n" not in runbook] == []
