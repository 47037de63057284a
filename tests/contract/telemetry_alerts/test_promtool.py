"""What is accepted, made and exported as rules, Debian's promtool takes too; else it says so."""

import shutil
import subprocess

import pytest

from aerofusion.telemetry.v1 import rule_service_pb2
from bench.peers import UNPACKED
from meshkit.errors import InvalidInput
from telemetry.objectives.model import Objective
from telemetry.objectives.rules import groups_of
from telemetry.rules.files import as_yaml, read_groups
from tests.contract.telemetry_alerts.reaching import ready
from tests.fixtures.mesh import ROOT


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.

FILES = [ROOT / "deploy/rules" / name for name in ("mesh.yaml", "airport-day.yaml")]
OURS = """
groups:
  - name: edge
    labels: {team: edge}
    rules:
      - alert: Slow
        expr: latency_seconds > 0.5
        recovery: 0.2
        no_data: resolve
        escalation: ops
        keep_firing_for: 1m
        labels: {severity: page}
"""
GOOD = [
    "groups: []",
    "groups: [{name: a, rules: []}]",
    "groups: [{name: a, interval: 1m30s, limit: 3, rules: [{record: 'a:b', expr: 'sum(up)'}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: 'up == 0', for: 5m, labels: {a: '{{ $value }}'}}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: 'vector(1)', annotations: {s: 'x'}}]}]",
]
BAD = [
    "groups: [{name: a}, {name: a}]",
    "groups: [{rules: []}]",
    "rules: []",
    "groups: [{name: a, rules: [{expr: up}]}]",
    "groups: [{name: a, rules: [{alert: A, record: b, expr: up}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: 'up ='}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: up, for: 5}]}]",
    "groups: [{name: a, rules: [{record: a, expr: up, for: 5m}]}]",
    "groups: [{name: a, rules: [{record: 'a b', expr: up}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: up, labels: {'a-b': c}}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: up, annotations: {s: '{{ if }}'}}]}]",
    "groups: [{name: a, rules: [{alert: A, expr: up, fro: 5m}]}]",
]


@pytest.fixture
def promtool(tmp_path):
    """`promtool(text)`: whether it takes a rule file, and what it says."""
    program = shutil.which("promtool") or UNPACKED / "prometheus/usr/bin/promtool"

    def check(text):
        file = tmp_path / "rules.yaml"
        file.write_text(text)
        run = subprocess.run(
            [str(program), "check", "rules", str(file)], capture_output=True, text=True, check=False
        )
        return run.returncode == 0, run.stdout + run.stderr

    return check


@pytest.mark.parametrize("text", GOOD)
def test_what_promtool_takes_is_taken(promtool, text):
    assert promtool(text)[0]
    read_groups(text)


@pytest.mark.parametrize("text", BAD)
def test_what_promtool_refuses_is_refused(promtool, text):
    assert not promtool(text)[0]
    with pytest.raises(InvalidInput):
        read_groups(text)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"group_by": ()},
        {"bad": "", "good": 'asked_bucket{le="0.5"}', "target": 0.9},
        {"window_ms": 90 * 86_400_000, "title": "All {{ of }} it"},
    ],
)
def test_the_rules_of_an_objective_are_ones_that_promtool_takes(promtool, more):
    given = {
        "id": "edge",
        "target": 0.999,
        "total": "asked_total",
        "bad": 'asked_total{code=~"5.."}',
        "group_by": ("service", "zone"),
    }
    groups = groups_of(Objective(**{**given, **more}))
    taken, said = promtool(as_yaml(list(groups.values()), plain=True))
    assert taken, said


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_the_rules_that_come_with_the_mesh_are_ones_that_promtool_takes(promtool, file):
    taken, said = promtool(as_yaml(read_groups(file.read_text()), plain=True))
    assert taken, said


async def test_what_is_exported_plain_promtool_takes_and_else_we_do(running, dsn, promtool):
    async with running(dsn) as service:
        await ready(service)
        await service.apply(OURS)
        export = rule_service_pb2.ExportRuleFileRequest()
        whole = (await service.rules.ExportRuleFile(export)).content
        assert read_groups(whole) == read_groups(OURS)
        assert not promtool(whole)[0]
        export.plain = True
        export.names.append("ruleGroups/edge")
        plain = (await service.rules.ExportRuleFile(export)).content
        taken, said = promtool(plain)
        assert taken, said
        (group,) = read_groups(plain)
        assert dict(group.rules[0].labels) == {"severity": "page", "team": "edge"}
