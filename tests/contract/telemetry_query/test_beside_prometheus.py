"""
What Grafana's Prometheus data source asks, answered as Debian's Prometheus 2.42 answers it.

Both have the same samples, ours from the store, theirs by remote write. Sample times lie off the
edges of all windows: on an edge version 3's windows, which are open on the left, differ.
"""

# ruff: noqa: S608 - the SQL is made of constants

import asyncio
import contextlib
import math
from datetime import timedelta

import aiohttp
import pytest
import pytest_asyncio

from bench.peers import prometheus
from meshkit.http import listening
from telemetry.http import make_app
from telemetry.query.queries import Queries
from telemetry.store.engine import quote
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions
from tests.contract.telemetry_query.known import BASE_MS


pytestmark = pytest.mark.asyncio(loop_scope="module")

OFF_EDGE_MS = 7_123
STEPS = 120
START, END = BASE_MS / 1000 + 600, BASE_MS / 1000 + 1_500

QUERIES = [
    "calls_total",
    'calls_total{job="edge",method!="GET"}',
    '{__name__=~"calls.*",job=~"edge|syncd"}',
    "temperature",
    "temperature offset 5m",
    "temperature > 20",
    "temperature > bool 20",
    "nosuch",
    "rate(calls_total[1m])",
    "rate(calls_total[5m])",
    "irate(calls_total[2m])",
    "increase(calls_total[10m])",
    "delta(temperature[5m])",
    "idelta(temperature[5m])",
    "deriv(temperature[5m])",
    "predict_linear(temperature[5m], 600)",
    "resets(calls_total[10m])",
    "changes(temperature[10m])",
    *(
        f"{fold}_over_time(temperature[5m])"
        for fold in ("avg", "min", "max", "sum", "count", "stddev", "stdvar", "last", "present")
    ),
    "quantile_over_time(0.9, temperature[5m])",
    'absent(nosuch{job="x"})',
    "absent_over_time(nosuch[5m])",
    "sum(rate(calls_total[5m]))",
    "sum by (job) (rate(calls_total[5m]))",
    "sum without (method) (rate(calls_total[5m]))",
    "avg by (method) (calls_total)",
    "min(temperature)",
    "max by (gate) (temperature)",
    "count(calls_total)",
    "stddev(calls_total)",
    "topk(2, calls_total)",
    "bottomk(1, calls_total)",
    "quantile(0.5, calls_total)",
    'count_values("v", calls_total > bool 100)',
    "group by (job) (calls_total)",
    "calls_total / on (job, method) calls_total",
    "calls_total / on (job) group_left () sum by (job) (calls_total)",
    'calls_total{method="GET"} + ignoring (method) calls_total{method="PUT"}',
    "calls_total and on (job) temperature",
    "calls_total unless on (job) temperature",
    "calls_total or temperature",
    "-temperature",
    "temperature % 3 ^ 2",
    "1 + 2 * 3",
    "time()",
    "vector(1)",
    "scalar(sum(calls_total))",
    "histogram_quantile(0.9, rate(took_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le) (rate(took_bucket[5m])))",
    'label_replace(calls_total, "short", "$1", "method", "(.).*")',
    'label_join(calls_total, "both", "-", "job", "method")',
    "clamp(temperature, 19, 21)",
    "round(temperature, 0.5)",
    "abs(temperature) + ceil(temperature) + floor(temperature) + sgn(temperature)",
    "exp(temperature) / ln(temperature) + log2(temperature) + log10(temperature)",
    "sqrt(temperature) + sin(temperature) + deg(temperature) + rad(temperature)",
    "timestamp(temperature)",
    "hour(timestamp(temperature)) + day_of_week() + month() + year()",
    "max_over_time(sum(rate(calls_total[1m]))[5m:30s] offset 10s)",
    "avg_over_time(temperature[5m:1m] offset 70s)",
    "calls_total @ end()",
    "temperature @ start() + temperature",
    "sum_over_time(calls_total[2m] @ end() offset 1m)",
    "sort_desc(calls_total)",
    "up == 1 or vector(0)",
]
ERRORS = [
    "sum(",
    "rate(calls_total)",
    "nosuch(x)",
    "x[5m",
    "1 == 2",
    '{a=~".*"}',
    "calls_total / ",
    "calls_total * on (job) calls_total",
    "x{a=}",
    "topk(x, x)",
    "sum by (a) ",
]


def known():
    """Return labels and samples of what both are filled with."""

    def times(step=1):
        return [BASE_MS + OFF_EDGE_MS + 15_000 * i for i in range(0, STEPS, step)]

    def series(name, values, step=1, **labels):
        return {"__name__": name, **labels}, list(zip(times(step), values, strict=False))

    counter = [float(3 * i) for i in range(STEPS)]
    reset = [float(7 * (i % 50)) for i in range(STEPS)]
    wave = [20 + 5 * math.sin(i / 7) for i in range(STEPS)]
    gaps = [(ms, 11.5) for ms, i in zip(times(), range(STEPS), strict=True) if i % 40 < 20]
    yield series("calls_total", counter, job="edge", method="GET")
    yield series("calls_total", reset, job="edge", method="PUT")
    yield series("calls_total", [2 * v for v in counter], job="syncd", method="GET")
    yield series("temperature", wave, job="edge", gate="B 12")
    yield {"__name__": "temperature", "job": "edge", "gate": '\u00e9"\\'}, gaps
    for share, le in ((1, "0.1"), (3, "0.5"), (4, "1"), (5, "+Inf")):
        yield series("took_bucket", [float(share * i) for i in range(STEPS)], job="edge", le=le)


async def _fill(sessions):
    rows, points = [], []
    for number, (labels, samples) in enumerate(known()):
        pairs = ",".join(f"{quote(k)},{quote(v)}" for k, v in sorted(labels.items()))
        rows.append(
            f"('', {quote(labels['__name__'])}, 1, {number}, map({pairs}), 'counter', '',"
            f" '', {quote(labels['__name__'])}, now())"
        )
        points += [f"(1, {number}, {ms}, {value!r}, 1)" for ms, value in samples]
    await sessions.insert(
        f"INSERT INTO series (tenant, name, metric, series_id, labels, kind, unit, description, otlp_name, first_seen) VALUES {','.join(rows)}"
    )
    await sessions.insert(
        f"INSERT INTO samples (metric, series_id, ts_ms, value, segment) VALUES {','.join(points)}"
    )


class Both:
    """Ours and theirs, asked the same."""

    def __init__(self, http, peer):
        self.http = http
        self.peer = peer

    async def ask(self, path, *, post=False, **params):
        pairs = [
            (k, v)
            for k, given in params.items()
            for v in (given if isinstance(given, list) else [given])
        ]
        url = f"http://local/api/v1/{path}"
        ours = self.http.post(url, data=pairs) if post else self.http.get(url, params=pairs)
        async with ours as response:
            mine = response.status, await response.json()
        theirs = self.peer.post if post else self.peer.get
        return mine, await asyncio.to_thread(theirs, path, **params)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(ca, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    async with contextlib.AsyncExitStack() as stack:
        peer = stack.enter_context(prometheus(folder))
        peer.write(known())
        sessions = await stack.enter_async_context(Sessions.open(folder / "store"))
        await _fill(sessions)
        queries = Queries(Reader(sessions))
        stack.callback(queries.close)
        unix = folder / "http.sock"
        tls = ca.workload("telemetry").server_ssl_context()
        await stack.enter_async_context(
            listening(
                make_app(queries),
                address="127.0.0.1:0",
                tls=tls,
                unix_socket=unix,
                grace=timedelta(seconds=1),
            )
        )
        connector = aiohttp.UnixConnector(path=str(unix))
        yield Both(
            await stack.enter_async_context(aiohttp.ClientSession(connector=connector)), peer
        )


def same_value(a, b):
    x, y = float(a), float(b)
    return (math.isnan(x) and math.isnan(y)) or x == y or math.isclose(x, y, rel_tol=1e-9)


def normal(data):
    """Return a query's data with its series in one order, points apart."""
    if data["resultType"] in ("scalar", "string"):
        return data["resultType"], [((), [data["result"]])]
    rows = [
        (tuple(sorted(row["metric"].items())), row.get("values") or [row["value"]])
        for row in data["result"]
    ]
    return data["resultType"], sorted(rows)


def assert_same(query, mine, theirs):
    (status, body), (their_status, their_body) = mine, theirs
    assert (status, body["status"]) == (their_status, their_body["status"]), (query, body)
    kind, rows = normal(body["data"])
    their_kind, their_rows = normal(their_body["data"])
    assert kind == their_kind, query
    assert [labels for labels, _ in rows] == [labels for labels, _ in their_rows], query
    for (labels, points), (_, their_points) in zip(rows, their_rows, strict=True):
        assert [t for t, _ in points] == [t for t, _ in their_points], (query, labels)
        for (t, value), (_, their_value) in zip(points, their_points, strict=True):
            assert same_value(value, their_value), (query, labels, t, value, their_value)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_panel_gets_what_prometheus_would_give(both, query):
    grid = {"start": str(START), "end": str(END), "step": "30"}
    for post in (False, True):
        assert_same(query, *await both.ask("query_range", post=post, query=query, **grid))


@pytest.mark.parametrize("query", QUERIES)
async def test_a_table_gets_what_prometheus_would_give(both, query):
    for post in (False, True):
        assert_same(query, *await both.ask("query", post=post, query=query, time=str(END)))


async def test_a_range_vector_comes_with_its_samples(both):
    assert_same("[]", *await both.ask("query", query="temperature[2m]", time=str(END)))


@pytest.mark.parametrize("query", ERRORS)
async def test_errors_have_the_same_status_and_type(both, query):
    (status, body), (their_status, theirs) = await both.ask("query", query=query, time=str(END))
    assert (status, body["status"], body["errorType"]) == (
        their_status,
        theirs["status"],
        theirs["errorType"],
    )


@pytest.mark.parametrize("query", ["sum(", "rate(calls_total)", "1 == 2", "x{a=}", '{a=~".*"}'])
async def test_complaints_are_word_for_word_the_same(both, query):
    (_, body), (_, theirs) = await both.ask("query", query=query, time=str(END))
    assert body["error"] == theirs["error"]


@pytest.mark.parametrize(
    "params",
    [
        {"match[]": ["calls_total"]},
        {"match[]": ['{job="syncd"}', "temperature"]},
        {"match[]": ['{__name__=~"took.*",le="1"}'], "start": str(START), "end": str(END)},
        {"match[]": ["nosuch"]},
    ],
)
async def test_series_are_listed_the_same(both, params):
    for post in (False, True):
        (status, body), (their_status, theirs) = await both.ask("series", post=post, **params)
        assert (status, body["status"]) == (their_status, theirs["status"])
        order = {"key": lambda labels: sorted(labels.items())}
        assert sorted(body["data"], **order) == sorted(theirs["data"], **order)


@pytest.mark.parametrize("params", [{}, {"match[]": ["calls_total"]}, {"match[]": ["nosuch"]}])
async def test_labels_and_their_values_are_listed_the_same(both, params):
    times = {"start": str(START), "end": str(END)}
    for path in ("labels", "label/job/values", "label/__name__/values", "label/nosuch/values"):
        (status, body), (their_status, theirs) = await both.ask(path, **params, **times)
        assert (status, body) == (their_status, theirs)
    (_, body), (_, theirs) = await both.ask("labels", post=True, **params, **times)
    assert body == theirs


@pytest.mark.parametrize(
    "query",
    ["sum(rate(x[5m]))by(job)", "a+on(x)group_left(y)b", 'x{b="1",a!~"2"}[90s:]offset 1h', "(1)"],
)
async def test_queries_are_formatted_the_same(both, query):
    (status, body), (their_status, theirs) = await both.ask("format_query", query=query)
    assert (status, body) == (their_status, theirs)


async def test_rules_alerts_and_exemplars_are_there_and_empty(both):
    for path, params in (
        ("rules", {}),
        ("alerts", {}),
        ("query_exemplars", {"query": "calls_total", "start": str(START), "end": str(END)}),
    ):
        (status, body), (their_status, theirs) = await both.ask(path, **params)
        assert (status, body) == (their_status, theirs)


async def test_status_pages_have_the_same_parts(both):
    (_, body), (_, theirs) = await both.ask("status/buildinfo")
    assert body["data"].keys() == theirs["data"].keys()
    (_, body), (_, theirs) = await both.ask("status/tsdb")
    assert body["data"].keys() == theirs["data"].keys()
    assert body["data"]["headStats"].keys() == theirs["data"]["headStats"].keys()
    for part in ("seriesCountByMetricName", "labelValueCountByLabelName"):
        assert {(one["name"], one["value"]) for one in body["data"][part]} == {
            (one["name"], one["value"]) for one in theirs["data"][part]
        }
    ours, them = (
        {one["name"]: one["value"] for one in found["data"]["seriesCountByLabelValuePair"]}
        for found in (body, theirs)
    )
    assert {name: ours[name] for name in them if name in ours} == {
        name: value for name, value in them.items() if name in ours
    }
    assert ours["job=edge"] == 8


async def test_what_a_query_cost_is_told_when_asked(both):
    asked = {"query": "rate(calls_total[5m])", "time": str(END), "stats": "true"}
    (_, body), (_, theirs) = await both.ask("query", **asked)
    assert body["data"]["stats"].keys() == theirs["data"]["stats"].keys()
    assert body["data"]["stats"]["timings"].keys() == theirs["data"]["stats"]["timings"].keys()
    assert body["data"]["stats"]["samples"]["totalQueryableSamples"] > 0
