"""Series as matchers select them; the tables are real."""

# ruff: noqa: S608 - SQL of ours

import pytest

from meshkit.errors import InvalidInput
from telemetry.store import series as of_series
from telemetry.store.model import Matcher, MatchOp, Series
from telemetry.store.reader import Reader
from telemetry.store.series import Selecting
from telemetry.store.sessions import READ_BOUNDS, Sessions


NAME = Matcher(label="__name__", op=MatchOp.EQUAL, value="up")


@pytest.fixture
async def sessions(tmp_path):
    async with Sessions.open(tmp_path / "store") as opened:
        yield opened


async def put_in(sessions, *rows):
    """Write rows of (metric, series id, SQL of the labels), each a part by itself."""
    for metric, series_id, labels in rows:
        await sessions.insert(
            "INSERT INTO series (tenant, name, metric, series_id, labels, kind) VALUES"
            f" ('', 'up', {metric}, {series_id}, {labels}, 'gauge')"
        )


async def test_ids_with_equal_labels_are_one_series_and_the_first_id_leads(sessions):
    one, other = "map('__name__', 'up', 'i', 'a')", "map('__name__', 'up', 'i', 'b')"
    await put_in(sessions, (1, 9, one), (1, 5, other), (2, 2**64 - 1, one), (1, 3, one))

    found = await Reader(sessions).select_series([NAME])

    assert found == [
        Series(
            labels=(("__name__", "up"), ("i", "a")),
            kind="gauge",
            keys=((1, 3), (1, 9), (2, 2**64 - 1)),
        ),
        Series(labels=(("__name__", "up"), ("i", "b")), kind="gauge", keys=((1, 5),)),
    ]


async def test_what_was_written_twice_is_there_once(sessions):
    await sessions.execute("SYSTEM STOP MERGES series")
    labels = "map('__name__', 'up')"
    await put_in(sessions, (1, 1, labels), (1, 1, labels), (1, 2, labels))

    (found,) = await Reader(sessions).select_series([NAME])

    assert found.keys == ((1, 1), (1, 2))


async def test_labels_are_sorted_and_readable_however_they_were_written(sessions):
    broken = "map('z', unhex('61FF62'), '__name__', 'up', 'ä', 'ö ''\"')"
    await put_in(sessions, (1, 1, broken), (1, 2, "map()"))

    found = await Reader(sessions).select_series([NAME])

    assert [one.labels for one in found] == [
        (("__name__", "up"), ("z", "a\ufffdb"), ("ä", "ö '\"")),
        (),
    ]


async def test_too_many_series_are_refused(sessions, monkeypatch):
    await put_in(sessions, (1, 1, "map('i', 'a')"), (1, 2, "map('i', 'b')"))
    assert len(await Reader(sessions).select_series([NAME])) == 2
    monkeypatch.setattr(of_series, "SERIES_MAX", 1)

    with pytest.raises(InvalidInput, match="too many series"):
        await Reader(sessions).select_series([NAME])


async def test_of_none_there_is_nothing(sessions):
    assert await Reader(sessions).select_series([NAME]) == []


class Noted:
    """A store's sessions, and what they were asked."""

    def __init__(self, sessions):
        self._sessions = sessions
        self.asked = []

    async def query(self, *question):
        self.asked.append("keys")
        return await self._sessions.query(*question)

    async def batches(self, *question):
        self.asked.append("labels")
        return await self._sessions.batches(*question)


def on(host):
    """The labels of a host's series, as SQL."""
    return f"map('__name__', 'up', 'host', '{host}')"


def found(series):
    return [(dict(one.labels)["host"], one.keys) for one in series]


async def test_labels_are_asked_for_once_and_new_series_are_found(sessions):
    noted = Noted(sessions)
    selecting = Selecting(noted)
    await put_in(sessions, (1, 7, on("a")))
    await put_in(sessions, (1, 7, on("a")))  # A replay writes a series again.
    await put_in(sessions, (1, 3, on("b")))

    for _ in range(2):
        series = await selecting.select([NAME], tenant="", bounds=READ_BOUNDS)
        assert found(series) == [("b", ((1, 3),)), ("a", ((1, 7),))]
    await put_in(sessions, (1, 2, on("d")))
    series = await selecting.select([NAME], tenant="", bounds=READ_BOUNDS)

    assert found(series) == [("d", ((1, 2),)), ("b", ((1, 3),)), ("a", ((1, 7),))]
    assert noted.asked == ["keys", "labels", "keys", "keys", "labels"]


async def test_what_was_learnt_first_is_forgotten_first_and_found_again(sessions):
    noted = Noted(sessions)
    selecting = Selecting(noted, remembered_max=2)
    for number, host in enumerate("abcd", 1):
        await put_in(sessions, (1, number, on(host)))
    of = {host: [NAME, Matcher(label="host", op=MatchOp.EQUAL, value=host)] for host in ("a", "d")}

    whole = await selecting.select([NAME], tenant="", bounds=READ_BOUNDS)
    kept = await selecting.select(of["d"], tenant="", bounds=READ_BOUNDS)
    gone = await selecting.select(of["a"], tenant="", bounds=READ_BOUNDS)

    assert [host for host, _ in found(whole)] == ["a", "b", "c", "d"]
    assert found(kept) == [("d", ((1, 4),))]
    assert found(gone) == [("a", ((1, 1),))]
    assert noted.asked == ["keys", "labels", "keys", "keys", "labels"]
    assert await selecting.select([NAME], tenant="nobody", bounds=READ_BOUNDS) == []
