"""Scraping of real endpoints: what is there, what is gone, and what can't be read."""

import asyncio
import ssl

import aiohttp
import pytest
from aiohttp import web

from meshkit.settings import InvalidSettings
from telemetry.intake.scraper import Followed, Scraper, Target, read_targets
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from telemetry.store.model import STALE_NAN_BITS
from telemetry.store.reader import Reader
from tests.contract.telemetry_intake.running import bits, opened, samples_of, series_of


TEXT = """# HELP board_views_total Views of the board.
# TYPE board_views_total counter
board_views_total{gate="A1",who="say \\"hi\\"\\n"} 3
board_views_total{gate="B2",who=""} 1.5e3
# TYPE board_render_seconds histogram
board_render_seconds_bucket{le="0.1"} 1
board_render_seconds_bucket{le="+Inf"} 2
board_render_seconds_sum 0.30000000000000004
board_render_seconds_count 2
odd{instance="mine"} NaN
"""
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
async def endpoint():
    """An endpoint whose answer a test sets; returns (its address, answers)."""
    answers = {"text": TEXT, "type": "text/plain", "status": 200, "asked": []}

    async def metrics(request):
        answers["asked"].append(request.headers["Accept"])
        return web.Response(
            text=answers["text"],
            status=answers["status"],
            headers={"Content-Type": answers["type"]},
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", answers
    await runner.cleanup()


@pytest.fixture
async def scraping(tmp_path, endpoint):
    """Scrape the endpoint when told; yields (scrape, answers, read)."""
    address, answers = endpoint
    target = Target(
        url=f"http://{address}/metrics",
        labels={"job": "board", "instance": "i"},
        interval_s=15,
        timeout_s=5,
    )
    async with (
        opened(Settings(state_dir=tmp_path / "state")) as (sessions, pipeline),
        aiohttp.ClientSession() as session,
    ):
        scraper = Scraper(pipeline.intake, [target], tls=ssl.create_default_context())
        followed = Followed(target)

        async def scrape():
            return await scraper.scrape(followed, session)

        async def read(name):
            await pipeline.loader.flush()
            return await samples_of(sessions, name)

        yield scrape, answers, read, sessions, pipeline


def labels(**more):
    return tuple(sorted({"job": "board", "instance": "i", **more}.items()))


async def test_a_scrape_becomes_series_with_their_targets_labels(scraping):
    scrape, answers, read, sessions, _ = scraping

    assert await scrape()

    views = await read("board_views_total")
    assert views == {
        labels(__name__="board_views_total", gate="A1", who='say "hi"\n'): [3.0],
        labels(__name__="board_views_total", gate="B2"): [1500.0],
    }
    assert list((await read("board_render_seconds_sum")).values()) == [[0.30000000000000004]]
    assert (labels(__name__="odd", exported_instance="mine")) in await read("odd")
    assert list((await read("up")).values()) == [[1.0]]
    assert list((await read("scrape_samples_scraped")).values()) == [[7.0]]
    ((took,),) = (await read("scrape_duration_seconds")).values()
    assert 0 < took < 5
    (one, _) = await series_of(Reader(sessions), "board_views_total")
    assert one.kind == "counter"
    assert "openmetrics-text" in answers["asked"][0]


async def test_a_series_that_isnt_there_any_more_has_ended(scraping):
    scrape, answers, read, _, _ = scraping
    await scrape()
    answers["text"] = "\n".join(line for line in TEXT.splitlines() if 'gate="B2"' not in line)
    await scrape()

    found = await read("board_views_total")

    one, other = (
        [bits(value) for value in found[key]] for key in sorted(found, key=lambda key: key[1])
    )
    assert one == [bits(3.0)] * 2
    assert other == [bits(1500.0), STALE_NAN_BITS]


@pytest.mark.parametrize(
    "broken",
    [{"status": 500}, {"text": "a 1\nno number\n"}, {"text": 'a{b="1" 2\n'}, {"text": "a{b=1} 2"}],
)
async def test_when_a_scrape_fails_the_target_is_down_and_all_its_series_have_ended(
    scraping, broken
):
    scrape, answers, read, _, _ = scraping
    await scrape()
    answers.update(broken)

    assert not await scrape()

    assert list((await read("up")).values()) == [[1.0, 0.0]]
    for name in ("board_views_total", "board_render_seconds_count"):
        for values in (await read(name)).values():
            assert [bits(value) == STALE_NAN_BITS for value in values] == [False, True]


async def test_openmetrics_times_are_seconds_and_exemplars_are_passed_over(scraping):
    scrape, answers, read, sessions, pipeline = scraping
    answers["type"] = OPEN
    now = 1000 * int(asyncio.get_running_loop().time())
    at = pipeline.intake._clock() // 10**9 - 60
    answers["text"] = f'g {now} {at}.25\nc_total{{a="b"}} 5 # {{trace_id="x"}} 0.5\n# EOF\n'

    assert await scrape()

    reader = Reader(sessions)
    await read("g")
    found = await reader.read_samples(await series_of(reader, "g"), start_ms=0, end_ms=2**50)
    assert found.ts_ms.tolist() == [at * 1000 + 250]
    assert list((await read("c_total")).values()) == [[5.0]]
    account = pipeline.ledger.of(Signal.SCRAPE, "")
    assert account.received == account.stored == 5


def test_targets_are_read_from_a_file_as_prometheus_has_it(tmp_path):
    path = tmp_path / "scrape.yml"
    path.write_text(
        "global: {scrape_interval: 30s}\n"
        "scrape_configs:\n"
        "- job_name: node\n"
        "  scrape_timeout: 40s\n"
        "  static_configs:\n"
        "  - {targets: ['a:9100', 'b:9100'], labels: {zone: x}}\n"
    )

    first, second = read_targets(path)

    assert first == Target(
        url="http://a:9100/metrics",
        labels={"job": "node", "instance": "a:9100", "zone": "x"},
        interval_s=30,
        timeout_s=30,
    )
    assert second.labels["instance"] == "b:9100"


@pytest.mark.parametrize(
    "text",
    [
        "rule_files: [x]",
        "scrape_configs: [{job_name: a, relabel_configs: []}]",
        "scrape_configs: [{job_name: a, scrape_interval: 5}]",
        "scrape_configs: [{static_configs: [{targets: [a]}]}]",
        "a: [",
    ],
)
def test_what_a_file_asks_for_and_isnt_done_is_an_error(tmp_path, text):
    path = tmp_path / "scrape.yml"
    path.write_text(text)

    with pytest.raises(InvalidSettings, match=r"scrape\.yml"):
        read_targets(path)
