import json
from datetime import UTC, datetime, timedelta

import pytest

from meshctl.demo.counts import Counts, Recent, read_counts
from meshctl.demo.settings import DevicesSettings, FlightinfoSettings, MailsinkSettings
from meshctl.demo.steering import Steering, read_steering
from meshkit.settings import InvalidSettings, load


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_is_asked_for_is_what_is_read(tmp_path):
    asked = Steering(date="2013-07-10", speed=60.0, loops=1, passengers=10, devices=4, nonce="x")

    asked.write(tmp_path / "wheel.json")

    assert read_steering(tmp_path / "wheel.json") == asked


def test_without_a_file_nothing_is_asked_for(tmp_path):
    assert read_steering(None) == read_steering(tmp_path / "none.json") == Steering()


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "{", '{"speed": "fast", "date": "yesterday"}', '{"speed": 0, "passengers": 1e9}'],
)
def test_what_is_not_usable_is_as_if_not_asked_for(tmp_path, content):
    (tmp_path / "wheel.json").write_text(content)

    assert read_steering(tmp_path / "wheel.json") == Steering()


def test_rates_are_those_of_the_last_seconds(tmp_path):
    counts = Counts(part="flightinfo", folder=tmp_path)
    counts.add("events", 1000)
    counts.write(NOW)
    counts.write(NOW + timedelta(seconds=60))
    counts.add("events", 50)
    counts.write(NOW + timedelta(seconds=65), state="replaying")

    told = read_counts(tmp_path)
    assert told["counts"] == {"events": 1050}
    assert told["rates"] == {"events": 10.0}
    assert told["facts"] == {"state": "replaying"}
    assert json.loads((tmp_path / "counts.json").read_text()) == told


def test_quantiles_are_those_of_the_last_values():
    recent = Recent(most=4)

    assert recent.quantile(0.5) == 0.0
    for value in (100.0, 1.0, 2.0, 3.0, 4.0):
        recent.add(value)
    assert recent.quantile(0.5) == 3.0
    assert recent.quantile(1.0) == 4.0


def test_a_part_that_never_wrote_has_no_counts(tmp_path):
    assert read_counts(tmp_path) is None


@pytest.mark.parametrize(
    ("kind", "prefix"), [(FlightinfoSettings, "FLIGHTINFO"), (DevicesSettings, "DEVICES")]
)
def test_all_problems_of_the_settings_are_told_at_once(kind, prefix):
    environ = {f"{prefix}_DATE": "tomorrow", f"{prefix}_PASSENGERS": "0", f"{prefix}_TYPO": "1"}

    with pytest.raises(InvalidSettings) as refused:
        load(kind, prefix=prefix, environ=environ)

    assert f"{prefix}_TYPO: no such setting" in str(refused.value)
    assert f"{prefix}_PASSENGERS: must be 1 to 20000" in str(refused.value)


def test_the_edge_must_be_named():
    with pytest.raises(InvalidSettings, match="FLIGHTINFO_EDGE_ADDRESS: must be set"):
        load(FlightinfoSettings, prefix="FLIGHTINFO", environ={})


def test_the_mailsink_needs_no_edge():
    settings = load(MailsinkSettings, prefix="MAILSINK", environ={"MAILSINK_MAILS_MAX": "5"})

    assert settings.mails_max == 5
