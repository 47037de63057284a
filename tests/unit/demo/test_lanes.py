import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meshctl.demo.lanes import Lane, Pace, Timekeeper, start_clock
from meshctl.demo.progress import Plan, Progress
from meshctl.demo.replay import Clock, Replay
from meshctl.demo.timeline import events_of
from tests.fixtures.day import small_day


PLAN = Plan(date="2013-03-08", passengers=3, loops=2)
FAST = 10_000_000.0
"""A day in less than 10 ms."""


@pytest.fixture
def replay():
    day = small_day()
    return Replay(day=day, events=events_of(day), loops=2)


def keeper_of(replay, speed=FAST):
    return Timekeeper(Clock(simulated=replay.day.begins, real=datetime.now(UTC), speed=speed))


def lane_of(replay, progress, publish, keeper=None, batch_max=4):
    return Lane(
        "notices",
        replay=replay,
        run=progress.take_up(PLAN),
        progress=progress,
        keeper=keeper or keeper_of(replay),
        pace=Pace(tick=timedelta(0), batch_max=batch_max),
        publish=publish,
    )


@pytest.fixture
def progress(tmp_path):
    made = Progress(tmp_path)
    made.write(replace(made.take_up(PLAN), bases={"EWR": 7}))
    return made


async def test_a_lane_plays_every_event_once_in_bounded_batches(replay, progress):
    sent = []

    async def publish(batch, _clock):
        sent.append(list(batch))

    await lane_of(replay, progress, publish).run()

    assert [one for batch in sent for one in batch] == list(replay.occurrences())
    assert max(len(batch) for batch in sent) == 4


@pytest.mark.parametrize("crash_after", [0, 1, 5, 12])
async def test_a_crash_repeats_at_most_the_batch_under_way_unchanged(replay, progress, crash_after):
    sent = []

    class Crash(Exception):
        pass

    async def publish_until_crash(batch, clock):
        sent.append((list(batch), clock))
        if len(sent) > crash_after:
            raise Crash

    async def publish(batch, clock):
        sent.append((list(batch), clock))

    with pytest.raises(Crash):
        await lane_of(replay, progress, publish_until_crash).run()
    await lane_of(replay, progress, publish).run()

    before, after = sent[: crash_after + 1], sent[crash_after + 1 :]
    assert after[0] == before[-1]
    whole = [one for batch, _ in before + after[1:] for one in batch]
    assert whole == list(replay.occurrences())


async def test_nothing_is_played_before_its_time(replay, progress):
    early = []
    keeper = keeper_of(replay)

    async def publish(batch, clock):
        early.extend(one for one in batch if clock.real_at(one.at) > keeper.now())

    await lane_of(replay, progress, publish, keeper).run()

    assert early == []


async def test_a_lane_that_waits_follows_a_change_of_speed(replay, progress):
    sent = []
    keeper = keeper_of(replay, speed=0.01)

    async def publish(batch, _clock):
        sent.extend(batch)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(lane_of(replay, progress, publish, keeper).run())
        await asyncio.sleep(0)
        assert sent == []
        keeper.set_speed(FAST)

    assert len(sent) == len(list(replay.occurrences()))


def test_a_change_of_speed_does_not_move_the_time_of_day():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    keeper = Timekeeper(Clock(simulated=small_day().begins, real=now, speed=10), now=lambda: now)
    before = keeper.simulated

    keeper.set_speed(500)

    assert keeper.simulated == before
    assert keeper.clock.speed == 500


async def test_the_clock_goes_on_where_the_furthest_lane_was(replay, progress):
    async def publish(_batch, _clock):
        return

    now = datetime(2026, 1, 1, tzinfo=UTC)
    fresh = start_clock(replay, [None, None], 144, now)
    await lane_of(replay, progress, publish).run()
    note = progress.noted("notices", progress.take_up(PLAN))

    assert fresh == Clock(simulated=replay.day.begins, real=now, speed=144)
    assert start_clock(replay, [None, note], 144, now).simulated == note.simulated
    assert note.simulated >= list(replay.occurrences())[-1].at


def test_the_same_plan_is_taken_up_and_another_one_begins_anew(progress):
    first = progress.take_up(PLAN)
    again = progress.take_up(PLAN)
    other = progress.take_up(Plan(date="2013-03-09", passengers=3, loops=2))

    assert again == first
    assert first.bases == {"EWR": 7}
    assert other.bases is None
    assert other.id != first.id


def test_a_run_whose_preparation_was_broken_off_is_prepared_again(tmp_path):
    progress = Progress(tmp_path)
    first = progress.take_up(PLAN)

    again = progress.take_up(PLAN)

    assert again == first
    assert again.bases is None


async def test_a_new_run_forgets_how_far_the_last_one_came(replay, progress):
    async def publish(_batch, _clock):
        return

    await lane_of(replay, progress, publish).run()
    came = progress.noted("notices", progress.take_up(PLAN))
    fresh = progress.begin(PLAN)

    assert came.end > came.start
    assert progress.noted("notices", fresh) is None
