"""The HTTP API as clients of Prometheus use it, over a real store."""

import aiohttp
import pytest

from tests.contract.telemetry_query.known import BASE_MS, SAMPLES


pytestmark = pytest.mark.asyncio(loop_scope="module")
START = BASE_MS / 1000
END = START + 15 * (SAMPLES - 1)


async def test_an_instant_query_answers_as_prometheus_does(asking):
    status, body = await asking.get("query", query='calls_total{job="edge"}', time=str(END))
    assert status == 200
    assert body == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {
                    "metric": {"__name__": "calls_total", "job": "edge", "method": "GET"},
                    "value": [END, "600"],
                },
                {
                    "metric": {"__name__": "calls_total", "job": "edge", "method": "PUT"},
                    "value": [END, "1200"],
                },
            ],
        },
    }


async def test_a_range_query_answers_as_prometheus_does(asking):
    status, body = await asking.get(
        "query_range",
        query="sum by (job) (rate(calls_total[1m]))",
        start=str(START + 120),
        end=str(START + 150),
        step="15s",
    )
    times = [START + 120, START + 135, START + 150]
    assert status == 200
    assert body["data"]["resultType"] == "matrix"
    assert [row["metric"] for row in body["data"]["result"]] == [{"job": "edge"}, {"job": "syncd"}]
    for row in body["data"]["result"]:
        assert [t for t, _ in row["values"]] == times
        assert [float(text) for _, text in row["values"]] == [pytest.approx(3)] * 3


async def test_a_form_is_as_good_as_a_query_string(asking):
    asked = {"query": "sum(calls_total)", "time": str(END)}
    assert await asking.post("query", **asked) == await asking.get("query", **asked)
    asked = {"query": "temperature", "start": str(START), "end": str(END), "step": "60"}
    assert await asking.post("query_range", **asked) == await asking.get("query_range", **asked)


async def test_nan_is_a_value_and_a_scalar_and_a_string_have_their_own_shapes(asking):
    _, body = await asking.get("query", query="temperature", time=str(START + 15))
    assert body["data"]["result"][0]["value"] == [START + 15, "NaN"]
    _, body = await asking.get("query", query="-1 / 0", time="12.5")
    assert body["data"] == {"resultType": "scalar", "result": [12.5, "-Inf"]}
    _, body = await asking.get("query", query='"x"', time="12")
    assert body["data"] == {"resultType": "string", "result": [12, "x"]}


async def test_a_matrix_is_answered_with_its_samples_times(asking):
    _, body = await asking.get("query", query="temperature[30s]", time=str(END))
    assert body["data"]["resultType"] == "matrix"
    assert body["data"]["result"][0]["values"] == [[END - 15, "29.75"], [END, "30"]]


async def test_a_quantile_of_a_histogram_comes_from_its_buckets(asking):
    _, body = await asking.get(
        "query", query="histogram_quantile(0.75, rate(took_bucket[1m]))", time=str(END)
    )
    assert body["data"]["result"][0]["metric"] == {"job": "edge"}
    assert float(body["data"]["result"][0]["value"][1]) == pytest.approx(0.55)


async def test_series_and_labels_and_values_are_listed(asking):
    _, body = await asking.get("series", **{"match[]": 'calls_total{method=~"G.*"}'})
    assert [row["job"] for row in body["data"]] == ["edge", "syncd"]
    _, body = await asking.get("labels")
    assert body["data"] == ["__name__", "gate", "job", "le", "method"]
    _, body = await asking.get("labels", **{"match[]": "temperature"})
    assert body["data"] == ["__name__", "gate", "job"]
    _, body = await asking.get("label/job/values")
    assert body["data"] == ["edge", "syncd"]
    _, body = await asking.get("label/__name__/values", **{"match[]": '{job="syncd"}'})
    assert body["data"] == ["calls_total"]
    _, body = await asking.get("label/U__job/values", limit="1")
    assert body["data"] == ["edge"]
    assert body["warnings"] == ["results truncated due to limit"]


async def test_metadata_and_version_are_told(asking):
    _, body = await asking.get("metadata", metric="temperature")
    assert body["data"] == {"temperature": [{"type": "gauge", "help": "what it is", "unit": "s"}]}
    status, body = await asking.get("status/buildinfo")
    assert status == 200
    assert body["data"]["version"].startswith("3.")


async def test_remarks_come_with_the_answer(asking):
    _, body = await asking.get("query", query="rate(temperature[1m])", time=str(END))
    assert len(body["infos"]) == 1
    assert body["infos"][0].startswith("PromQL info: metric might not be a counter")


@pytest.mark.parametrize(
    ("path", "params", "status", "kind", "error"),
    [
        (
            "query",
            {"query": "sum("},
            400,
            "bad_data",
            'invalid parameter "query": 1:5: parse error: unclosed left parenthesis',
        ),
        ("query", {}, 400, "bad_data", 'invalid parameter "query"'),
        (
            "query",
            {"query": "up", "time": "soon"},
            400,
            "bad_data",
            'invalid parameter "time": cannot parse "soon" to a valid timestamp',
        ),
        ("query", {"query": "up", "timeout": "x"}, 400, "bad_data", 'invalid parameter "timeout"'),
        ("query", {"query": "up", "limit": "-1"}, 400, "bad_data", 'invalid parameter "limit"'),
        ("query_range", {"query": "up"}, 400, "bad_data", 'invalid parameter "start"'),
        (
            "query_range",
            {"query": "up", "start": "2", "end": "1", "step": "1"},
            400,
            "bad_data",
            'invalid parameter "end": end timestamp must not be before start time',
        ),
        (
            "query_range",
            {"query": "up", "start": "1", "end": "2", "step": "0"},
            400,
            "bad_data",
            'invalid parameter "step": zero or negative query resolution step widths',
        ),
        (
            "query_range",
            {"query": "up", "start": "0", "end": "11000", "step": "1"},
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries",
        ),
        ("series", {}, 400, "bad_data", "no match[] parameter provided"),
        ("series", {"match[]": "sum(up)"}, 400, "bad_data", 'invalid parameter "match[]"'),
        (
            "query",
            {"query": "calls_total * on(job) calls_total", "time": str(END)},
            422,
            "execution",
            "found duplicate series for the match group",
        ),
        ("nowhere", {}, 404, "not_found", "Not Found"),
    ],
)
async def test_errors_have_prometheus_shapes(  # noqa: PLR0917 - a table
    asking, path, params, status, kind, error
):
    got, body = await asking.get(path, **params)
    assert (got, body["status"], body["errorType"]) == (status, "error", kind)
    assert error in body["error"]


async def test_a_query_out_of_time_is_a_timeout(asking):
    status, body = await asking.get("query", query="up", timeout="0.000001ms")
    assert (status, body["errorType"]) == (400, "bad_data")
    status, body = await asking.get(
        "query", query="max_over_time(vector(1)[30d:1s])", timeout="1ms", time=str(END)
    )
    assert (status, body["errorType"]) == (503, "timeout")


async def test_only_operators_and_the_gateway_may_ask_over_tls(asking, ca):
    async def status(service):
        tls = ca.workload(service).client_ssl_context("telemetry")
        async with (
            aiohttp.ClientSession() as http,
            http.get(
                f"https://127.0.0.1:{asking.port}/api/v1/labels",
                ssl=tls,
                server_hostname="telemetry.aerofusion",
            ) as response,
        ):
            return response.status

    assert await status("operator") == 200
    assert await status("gateway") == 200
    assert await status("notifier") == 403


async def test_nobody_without_a_certificate_is_heard(asking, ca):
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://127.0.0.1:{asking.port}/api/v1/labels")


async def test_a_large_answer_is_compressed(asking):
    url = "http://local/api/v1/query_range"
    asked = {"query": "calls_total", "start": str(START), "end": str(END), "step": "250ms"}
    async with asking.http.get(url, params=asked) as response:
        assert response.headers["Content-Encoding"] in {"gzip", "deflate"}
        body = await response.json()
    assert [len(row["values"]) for row in body["data"]["result"]] == [2401] * 3


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("labels", {"match[]": "temperature"}),
        ("series", {"match[]": "calls_total"}),
        ("query_exemplars", {"query": "calls_total", "start": str(START), "end": str(END)}),
        ("format_query", {"query": "sum  by(job)(rate(calls_total[1m]))"}),
        ("parse_query", {"query": "sum(calls_total)"}),
    ],
)
async def test_what_grafana_posts_is_answered_as_what_it_gets(asking, path, asked):
    posted = await asking.post(path, **asked)
    assert posted[0] == 200
    assert posted == await asking.get(path, **asked)


async def test_a_query_is_laid_out(asking):
    _, body = await asking.post("format_query", query="sum  by(job)(rate(calls_total[1m]))")
    assert body["data"].replace("\n", "").replace(" ", "") == "sumby(job)(rate(calls_total[1m]))"


async def test_what_there_is_most_of_is_told(asking):
    status, body = await asking.get("status/tsdb", limit="2")
    assert status == 200
    data = body["data"]
    assert data["seriesCountByMetricName"] == [
        {"name": "calls_total", "value": 3},
        {"name": "took_bucket", "value": 3},
    ]
    assert data["labelValueCountByLabelName"][0] == {"name": "__name__", "value": 3}
    assert data["seriesCountByLabelValuePair"][0] == {"name": "job=edge", "value": 6}
    assert set(data["headStats"]) == {
        "numSeries", "numLabelPairs", "chunkCount", "minTime", "maxTime",
    }  # fmt: skip


@pytest.mark.parametrize(
    "regex",
    ["(", "(?=a)", "(?<!a)b", "(a{1000}){1000}", "\\\\1(a)", "[z-a]", "\\\\p{Nope}", "(" * 5_000],
)
async def test_a_hostile_pattern_is_refused(asking, regex):
    status, body = await asking.post("query", query=f'calls_total{{job=~"{regex}"}}', time=str(END))
    assert (status, body["errorType"]) == (400, "bad_data")


@pytest.mark.parametrize("regex", ["(a+)+$", "(a|a)*b", "(.*)*x", "(e|d|g|.)+" * 50, "^(?i:EDGE)$"])
async def test_a_pattern_that_others_hang_on_is_answered(asking, regex):
    status, body = await asking.post(
        "query", query=f'calls_total{{job=~"{regex}"}}', time=str(END), timeout="5s"
    )
    assert (status, body["status"]) == (200, "success")


@pytest.mark.parametrize("time", ["0", "-1", "1", "9223372036", "9223372036.854", "253402300799"])
async def test_any_instant_has_an_answer(asking, time):
    status, body = await asking.get("query", query="sum(calls_total) + time()", time=time)
    assert (status, body["data"]["result"]) == (200, [])


@pytest.mark.parametrize("time", ["1e300", "NaN", "Inf", "99999999999999999999"])
async def test_what_is_no_instant_is_refused(asking, time):
    status, body = await asking.get("query", query="1", time=time)
    assert (status, body["errorType"]) == (400, "bad_data")


@pytest.mark.parametrize("query", ['{__name__=~".*"}', "{}", '{job=""}', '{job!="x"}'])
async def test_a_query_for_everything_is_refused(asking, query):
    status, body = await asking.get("query", query=query, time=str(END))
    assert (status, body["errorType"]) == (400, "bad_data")
    assert "at least one non-empty matcher" in body["error"]
