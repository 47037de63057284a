"""Which series matchers mean: labels are asked for once, what is new is found all the same."""

import pytest

from telemetry.store.model import Matcher, MatchOp
from telemetry.store.selecting import Selecting
from telemetry.store.sessions import READ_BOUNDS, Sessions


LOAD = [Matcher(label="__name__", op=MatchOp.EQUAL, value="load")]


class Noted:
    """A store's sessions, and what they were asked."""

    def __init__(self, sessions):
        self._sessions = sessions
        self.asked = []

    async def query(self, sql, *rest):
        self.asked.append("labels" if ", labels" in sql else "keys")
        return await self._sessions.query(sql, *rest)


async def put(sessions, series, host, *, metric=1, tenant="", kind="gauge"):
    labels = f"map('__name__', 'load', 'host', '{host}')"
    await sessions.insert(
        "INSERT INTO series (tenant, name, metric, series_id, labels, kind)"
        f" SELECT '{tenant}', 'load', {metric}, {series}, {labels}, '{kind}'"
    )


def found(series):
    return [(dict(one.labels)["host"], one.keys) for one in series]


@pytest.fixture
async def sessions(tmp_path):
    async with Sessions.open(tmp_path / "store") as opened:
        yield opened


async def test_labels_are_asked_for_once_and_new_series_are_found(sessions):
    noted = Noted(sessions)
    selecting = Selecting(noted)
    await put(sessions, 7, "a")
    await put(sessions, 7, "a")  # A replay writes a series again.
    await put(sessions, 3, "b")
    await put(sessions, 5, "c", tenant="other")

    for _ in range(2):
        series = await selecting.select(LOAD, tenant="", bounds=READ_BOUNDS)
        assert found(series) == [("b", ((1, 3),)), ("a", ((1, 7),))]
    await put(sessions, 2, "d")
    series = await selecting.select(LOAD, tenant="", bounds=READ_BOUNDS)

    assert found(series) == [("d", ((1, 2),)), ("b", ((1, 3),)), ("a", ((1, 7),))]
    assert noted.asked == ["keys", "labels", "keys", "keys", "labels"]


async def test_ids_of_equal_labels_are_one_series_by_the_least_key(sessions):
    selecting = Selecting(sessions)
    await put(sessions, 9, "a", metric=2, kind="counter")
    await put(sessions, 4, "a", metric=1)
    await put(sessions, 6, "b", metric=1)

    for _ in range(2):
        series = await selecting.select(LOAD, tenant="", bounds=READ_BOUNDS)
        assert found(series) == [("a", ((1, 4), (2, 9))), ("b", ((1, 6),))]
        assert [one.kind for one in series] == ["gauge", "gauge"]


async def test_what_was_learnt_first_is_forgotten_first_and_found_again(sessions):
    noted = Noted(sessions)
    selecting = Selecting(noted, remembered_max=2)
    for number, host in enumerate("abcd", 1):
        await put(sessions, number, host)
    of = {host: [*LOAD, Matcher(label="host", op=MatchOp.EQUAL, value=host)] for host in ("a", "d")}

    whole = await selecting.select(LOAD, tenant="", bounds=READ_BOUNDS)
    kept = await selecting.select(of["d"], tenant="", bounds=READ_BOUNDS)
    gone = await selecting.select(of["a"], tenant="", bounds=READ_BOUNDS)

    assert [host for host, _ in found(whole)] == ["a", "b", "c", "d"]
    assert found(kept) == [("d", ((1, 4),))]
    assert found(gone) == [("a", ((1, 1),))]
    assert noted.asked == ["keys", "labels", "keys", "keys", "labels"]
    assert await selecting.select(LOAD, tenant="nobody", bounds=READ_BOUNDS) == []
