"""What the HTTP API makes of queries' trees, and of rules, whoever evaluates them."""

import json

import pytest
from aiohttp.test_utils import make_mocked_request

from meshkit.errors import InvalidInput
from telemetry.http import trees
from telemetry.http.rules import Alert, Group, Rule, RulesApi
from telemetry.promql.limits import QueryLimits
from telemetry.promql.parse import parse, selectors


LIMITS = QueryLimits()


def tree(text):
    return trees.tree(parse(text, LIMITS))


def test_a_tree_names_every_part():
    assert tree('sum by (job) (rate(x{a!="b"}[5m] offset 1h)) > bool 0') == {
        "type": "binaryExpr",
        "op": ">",
        "bool": True,
        "matching": None,
        "rhs": {"type": "numberLiteral", "val": "0"},
        "lhs": {
            "type": "aggregation",
            "op": "sum",
            "param": None,
            "grouping": ["job"],
            "without": False,
            "expr": {
                "type": "call",
                "func": {
                    "name": "rate",
                    "argTypes": ["matrix"],
                    "variadic": 0,
                    "returnType": "vector",
                },
                "args": [
                    {
                        "type": "matrixSelector",
                        "name": "x",
                        "matchers": [
                            {"name": "__name__", "value": "x", "type": "="},
                            {"name": "a", "value": "b", "type": "!="},
                        ],
                        "range": 300_000,
                        "rangeExpr": None,
                        "offset": 3_600_000,
                        "offsetExpr": None,
                        "timestamp": None,
                        "startOrEnd": None,
                        "anchored": False,
                        "smoothed": False,
                    }
                ],
            },
        },
    }


def test_a_tree_keeps_parentheses_matching_and_what_is_reckoned():
    found = tree("(a / on (x) group_left (y) fill_right (0) b)")
    assert found["type"] == "parenExpr"
    assert found["expr"]["matching"] == {
        "card": "many-to-one",
        "labels": ["x"],
        "on": True,
        "include": ["y"],
        "fillValues": {"lhs": None, "rhs": 0.0},
    }
    found = tree("x[step() * 2:(1m)] @ end()")
    assert found["rangeExpr"]["op"] == "*"
    assert found["stepExpr"]["wrapped"] is True
    assert found["startOrEnd"] == "end"
    assert tree('"a"') == {"type": "stringLiteral", "val": "a"}
    assert tree("-x")["type"] == "unaryExpr"


def test_all_selectors_of_a_query_are_found():
    query = "topk(scalar(a), sum(rate(b[5m])) + max_over_time((-c)[5m:]) > on () (d or 1 * e))"
    names = [group[0][0].value for group in selectors(parse(query, LIMITS))]
    assert names == ["a", "b", "c", "d", "e"]
    assert selectors(parse("1 + time()", LIMITS)) == []


FIRING = Alert(
    labels=(("alertname", "Late"), ("gate", "B12")),
    annotations=(("summary", "late"),),
    state="firing",
    active_ms=1_700_000_000_123,
    value=3.5,
)


class Some:
    """Two groups."""

    def groups(self):
        late = Rule(
            name="Late",
            query="late > 3",
            is_alert=True,
            labels=(("severity", "page"),),
            for_s=60.0,
            alerts=[FIRING],
            health="ok",
        )
        recorded = Rule(
            name="job:x:sum", query="sum(x)", is_alert=False, last_error="no", health="err"
        )
        return [
            Group(name="departures", file="a.yml", interval_s=1.0, rules=[late, recorded]),
            Group(name="empty", file="b.yml", interval_s=15.0),
        ]


async def asked(what, query=""):
    api = RulesApi(Some(), LIMITS)
    response = await getattr(api, what)(make_mocked_request("GET", f"/?{query}"))
    return json.loads(response.text)["data"]


@pytest.mark.asyncio
async def test_rules_are_told_with_their_alerts():
    groups = (await asked("rules"))["groups"]
    assert [group["name"] for group in groups] == ["departures", "empty"]
    late, recorded = groups[0]["rules"]
    assert late["type"] == "alerting"
    assert late["state"] == "firing"
    assert late["alerts"] == [
        {
            "labels": {"alertname": "Late", "gate": "B12"},
            "annotations": {"summary": "late"},
            "state": "firing",
            "activeAt": "2023-11-14T22:13:20.123Z",
            "value": "3.5",
        }
    ]
    assert (recorded["type"], recorded["health"], recorded["lastError"]) == (
        "recording",
        "err",
        "no",
    )
    assert "state" not in recorded


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("type=alert", ["Late"]),
        ("type=record", ["job:x:sum"]),
        ("rule_name[]=Late", ["Late"]),
        ("rule_group[]=departures", ["Late", "job:x:sum"]),
        ("file[]=b.yml", []),
        ('match[]={severity="page"}', ["Late"]),
    ],
)
async def test_rules_may_be_chosen(query, names):
    groups = (await asked("rules", query))["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == names


@pytest.mark.asyncio
async def test_groups_come_in_pages():
    first = await asked("rules", "group_limit=1")
    assert [group["name"] for group in first["groups"]] == ["departures"]
    rest = await asked("rules", f"group_next_token={first['groupNextToken']}")
    assert [group["name"] for group in rest["groups"]] == ["empty"]
    with pytest.raises(InvalidInput, match="group_next_token"):
        await asked("rules", "group_next_token=nosuch")


@pytest.mark.asyncio
async def test_alerts_are_told_by_themselves():
    assert [one["labels"]["alertname"] for one in (await asked("alerts"))["alerts"]] == ["Late"]
    api = RulesApi(None, LIMITS)
    response = await api.alerts(make_mocked_request("GET", "/"))
    assert json.loads(response.text)["data"] == {"alerts": []}
