import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from meshctl.cli.main import run
from meshctl.demo.cli import merged
from meshctl.demo.counts import Counts
from meshctl.demo.screen import Snapshot, headline, render
from meshctl.demo.steering import Steering


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path):
    (tmp_path / "flightinfo").mkdir()
    counts = Counts(part="flightinfo", folder=tmp_path / "flightinfo")
    counts.write(NOW - timedelta(seconds=2))
    counts.add("notifications", 1234)
    counts.write(
        NOW,
        state="replaying",
        simulated_time="2013-03-08T06:40-05:00",
        speed=144.0,
        loop=0,
    )
    return tmp_path


def shown(snapshot):
    console = Console(width=90, file=io.StringIO())
    with console.capture() as capture:
        console.print(render(snapshot))

    return capture.get()


def test_the_screen_shows_counts_rates_and_the_time_of_day(state):
    text = shown(Snapshot.read(state, NOW))

    assert "Friday 08 March 2013, 06:40" in text
    assert "1,234" in text
    assert "617.0" in text
    assert "silent: devices, mailsink" in text


def test_a_part_that_no_longer_writes_is_named(state):
    later = Snapshot.read(state, NOW + timedelta(seconds=30))

    assert not later.is_fresh("flightinfo")
    assert "silent: flightinfo, devices, mailsink" in shown(later)


def test_before_anything_ran_there_is_still_a_screen(tmp_path):
    snapshot = Snapshot.read(tmp_path, NOW)

    assert headline(snapshot) == "The airport day: not started"
    assert snapshot.as_record() == {"time": NOW.isoformat(), "parts": {}}


def test_the_record_for_programs_has_what_the_parts_told(state):
    record = Snapshot.read(state, NOW).as_record()

    assert record["parts"]["flightinfo"]["counts"] == {"notifications": 1234}
    assert record["parts"]["flightinfo"]["fresh"] is True


def test_what_is_not_asked_for_stays_as_it_was():
    before = Steering(date="2013-07-10", speed=60.0)

    assert merged(before, Steering(speed=1.0, loops=1)) == Steering(
        date="2013-07-10", speed=1.0, loops=1
    )


def test_without_a_mesh_the_command_says_what_to_try(tmp_path, capsys):
    code = run(["--state", str(tmp_path), "demo", "--speed", "60"])

    said = capsys.readouterr().err
    assert code == 69
    assert "No mesh runs on" in said
    assert "Try: meshctl up" in said
    assert not (tmp_path / "demo").exists()


def test_an_unreadable_date_or_a_speed_out_of_range_is_wrong_usage(tmp_path):
    assert run(["--state", str(tmp_path), "demo", "--date", "yesterday"]) == 2
    assert run(["--state", str(tmp_path), "demo", "--speed", "0"]) == 2
