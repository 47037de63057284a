import json

import pytest

from meshkit.errors import InvalidInput
from telemetry.dashboards import wire
from telemetry.dashboards.grafana import translate


BOARD = {
    "title": "Shop",
    "tags": ["prod"],
    "schemaVersion": 39,
    "annotations": {"list": [{"builtIn": 1, "name": "Annotations & Alerts"}]},
    "templating": {
        "list": [
            {"type": "query", "name": "job", "query": {"query": "label_values(up, job)"},
             "multi": True, "current": {"value": ["$__all"]}},
            {"type": "custom", "name": "q", "query": "0.5, 0.9", "current": {"value": "0.9"}},
            {"type": "query", "name": "odd", "query": "query_result(up)"},
            {"type": "datasource", "name": "ds", "query": "prometheus"},
        ]
    },
    "panels": [
        {"type": "row", "title": "Traffic", "panels": []},
        {
            "type": "timeseries",
            "title": "Requests of $job",
            "gridPos": {"x": 12, "y": 3, "w": 12, "h": 9},
            "fieldConfig": {
                "defaults": {
                    "unit": "reqps",
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [
                            {"color": "green", "value": None},
                            {"color": "orange", "value": 50},
                            {"color": "red", "value": 80},
                        ],
                    },
                },
                "overrides": [{"matcher": {}}],
            },
            "targets": [
                {"expr": 'sum(rate(x_total{job=~"$job"}[$__rate_interval]))',
                 "legendFormat": "{{code}}", "datasource": {"type": "prometheus"}},
                {"query": "SELECT 1", "datasource": {"type": "mysql"}},
            ],
        },
        {"type": "logs", "title": "Logs", "targets": [
            {"expr": '{app="shop"} |= "error"', "datasource": {"type": "loki"}}]},
        {"type": "geomap", "title": "Map"},
        {"type": "stat", "title": "Up", "fieldConfig": {"defaults": {"unit": "lightyears"}},
         "targets": [{"expr": "up"}]},
    ],
}  # fmt: skip


@pytest.fixture
def made():
    return translate(json.dumps(BOARD))


def test_panels_come_with_their_queries_units_thresholds_and_places(made):
    panel = made.spec["panels"][0]

    assert panel["title"] == "Requests of $job"
    assert panel["row"] == "Traffic"
    assert panel["unit"] == "{request}/s"
    assert panel["place"] == {"x": 12, "y": 3, "width": 12, "height": 9}
    assert [one["level"] for one in panel["thresholds"]] == [
        "THRESHOLD_LEVEL_WARNING",
        "THRESHOLD_LEVEL_CRITICAL",
    ]
    assert panel["queries"] == [
        {
            "query": 'sum(rate(x_total{job=~"$job"}[$__rate_interval]))',
            "language": "QUERY_LANGUAGE_PROMQL",
            "legend": "{{code}}",
        }
    ]


def test_variables_come_with_where_their_choices_are(made):
    job, quantile, *_ = made.spec["variables"]

    assert (job["label_name"], job["selector"], job["multi"]) == ("job", "up", True)
    assert (quantile["options"], quantile["defaults"]) == (["0.5", "0.9"], ["0.9"])


def test_what_has_no_place_is_listed_with_where_it_stands(made):
    assert {where for where, _ in made.untranslated} == {
        "templating.list[2]",
        "templating.list[3]",
        "panels[1].fieldConfig.overrides",
        "panels[1].targets[1]",
        "panels[2].targets[0]",
        "panels[3]",
        "panels[4].unit",
    }


def test_what_comes_of_it_is_a_dashboard_that_can_be_stored(made):
    spec = wire.spec_of(wire.message_of_spec(made.spec))

    assert spec["title"] == "Shop"
    assert len(spec["panels"]) == 3


def test_old_rows_hold_panels():
    made = translate(
        json.dumps({"rows": [{"title": "R", "panels": [{"type": "graph", "title": "g"}]}]})
    )

    assert made.spec["panels"][0]["row"] == "R"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"panels": 3}', "nonsense"])
def test_what_is_no_dashboard_is_refused(content):
    with pytest.raises(InvalidInput) as caught:
        translate(content)

    assert caught.value.reason == "INVALID_DASHBOARD"
