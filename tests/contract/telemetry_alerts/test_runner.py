"""Rules over the real head, log and store: what they record is found, and what they alert."""

import asyncio
import contextlib
import time
from datetime import timedelta

import pytest

from telemetry.app import open_pipeline, open_store
from telemetry.promql.limits import QueryLimits
from telemetry.query.queries import Queries
from telemetry.rules.files import read_groups
from telemetry.rules.runner import Runner
from telemetry.rules.states import Happened, Health, Phase
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from telemetry.store.reader import Reader
from tests.contract.telemetry_intake import otlp_requests


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.


STEP_MS = 100
"""Rules are evaluated ten times a second, so that tests needn't wait for seconds."""


class Ruled:
    """A pipeline with rules over it."""

    def __init__(self, pipeline, queries):
        self.pipeline, self.queries = pipeline, queries
        self.changes = []
        self.told = asyncio.Event()
        self.runner = Runner(
            source=lambda tenant: queries.source(tenant, timedelta(seconds=5)),
            write=lambda request, tenant: pipeline.intake.accept(Signal.METRICS, request, tenant),
            changed=self._changed,
            limits=QueryLimits(),
            step_ms=STEP_MS,
        )

    def _changed(self, changes):
        self.changes += changes
        self.told.set()

    async def send(self, name, *values, at_ns=None):
        request = otlp_requests.gauges(name, values, at_ns or time.time_ns())
        await self.pipeline.intake.accept(Signal.METRICS, request)

    async def until(self, what, alert=None):
        async with asyncio.timeout(20):
            while True:
                for change in self.changes:
                    name = dict(change.event.alert.labels)["alertname"]
                    if change.event.what is what and alert in {None, name}:
                        return change
                self.told.clear()
                await self.told.wait()

    async def found(self, query, until):
        """Ask *query* until its values are as wanted."""
        async with asyncio.timeout(20):
            while True:
                answer = await self.queries.instant(query, time.time_ns() // 1_000_000)
                if until(answer):
                    return answer
                await asyncio.sleep(0)


@pytest.fixture
async def ruled(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        settings = Settings(state_dir=tmp_path)
        sessions = await stack.enter_async_context(open_store(settings))
        pipeline = await stack.enter_async_context(open_pipeline(settings, sessions, Scanner()))
        queries = Queries(Reader(sessions), head=pipeline.head)
        stack.callback(queries.close)
        async with asyncio.timeout(30):
            await pipeline.head.begun.wait()
        made = Ruled(pipeline, queries)
        running = asyncio.ensure_future(made.runner.run())
        yield made
        running.cancel()
        await asyncio.wait({running})


def groups(text):
    return read_groups(text)


async def test_an_alert_fires_within_a_tick_and_is_resolved_when_its_condition_ends(ruled):
    (group,) = groups("""
groups:
  - name: queues
    rules:
      - alert: QueueLong
        expr: queue_length > 10
        labels: {severity: page}
        annotations: {summary: "{{ $labels.n }} has {{ $value }}"}
""")
    await ruled.send("queue.length", 5.0, 50.0)
    ruled.runner.put("", group)

    fired = await ruled.until(Happened.FIRING)
    assert dict(fired.event.alert.labels) == {
        "alertname": "QueueLong",
        "job": "test",
        "n": "1",
        "severity": "page",
    }
    assert fired.event.alert.annotations == (("summary", "1 has 50"),)
    assert fired.evaluated_ms >= fired.at_ms >= fired.event.alert.event_ms
    firing = await ruled.found("ALERTS", lambda answer: answer.series)
    assert dict(firing.series[0].labels)["alertstate"] == "firing"
    since = await ruled.found("ALERTS_FOR_STATE", lambda answer: answer.series)
    assert since.series[0].values.tolist() == [fired.event.alert.active_ms / 1000]

    await ruled.send("queue.length", 5.0, 6.0)
    await ruled.until(Happened.RESOLVED)
    await ruled.found("ALERTS", lambda answer: not answer.series)


async def test_rules_see_what_rules_before_them_in_the_group_recorded(ruled):
    (group,) = groups("""
groups:
  - name: load
    rules:
      - record: job:load:sum
        expr: sum by (job) (load)
      - alert: LoadHigh
        expr: job:load:sum > 2
      - record: job:load:absent
        expr: absent(job:load:sum)
""")
    await ruled.send("load", 1.0, 2.0)
    ruled.runner.put("", group)
    fired = await ruled.until(Happened.FIRING)
    assert fired.event.alert.value == 3.0
    running = ruled.runner.groups["", "load"]
    assert len(running.stages) == 2
    # Its first tick has seen it already: nothing was ever absent.
    answer = await ruled.queries.instant(
        "last_over_time(job:load:absent[1m])", time.time_ns() // 1_000_000
    )
    assert not answer.series


async def test_a_rule_that_fails_fails_alone_and_resolves_nothing(ruled):
    text = """
groups:
  - name: mixed
    limit: {limit}
    rules:
      - alert: Many
        expr: many > 0
      - alert: One
        expr: one > 0
"""
    await ruled.send("many", 1.0, 1.0)
    await ruled.send("one", 1.0)
    ruled.runner.put("", groups(text.format(limit=2))[0])
    await ruled.until(Happened.FIRING, "One")
    ruled.runner.put("", groups(text.format(limit=1))[0])
    running = ruled.runner.groups["", "mixed"]
    many, one = running.rules
    await ruled.found("ALERTS", lambda _: running.states[many].health is Health.FAILING)
    assert "exceeded limit of 1 with 2 series" in running.states[many].error
    assert [a.phase for a in running.states[many].alerts.values()] == [Phase.FIRING] * 2
    assert running.states[one].health is Health.OK
    assert not [c for c in ruled.changes if c.event.what is Happened.RESOLVED]


async def test_series_of_a_group_that_is_removed_end(ruled):
    (group,) = groups("groups: [{name: g, rules: [{record: copied, expr: original}]}]")
    await ruled.send("original", 1.0)
    ruled.runner.put("", group)
    await ruled.found("copied", lambda answer: answer.series)
    ruled.runner.remove("", "g")
    await ruled.found("copied", lambda answer: not answer.series)
