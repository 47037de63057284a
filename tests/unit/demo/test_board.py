from datetime import UTC, datetime

import pytest

from meshctl.demo.board import FIELDS, change_of, number_of, space_of
from meshctl.demo.messages import board_space, mutation
from meshctl.demo.replay import Clock, Replay
from meshctl.demo.timeline import Kind, events_of
from tests.fixtures.day import small_day


CLOCK = Clock(simulated=small_day().begins, real=datetime(2026, 1, 1, tzinfo=UTC), speed=144)


@pytest.fixture(scope="module")
def played():
    day = small_day()
    return list(Replay(day=day, events=events_of(day), loops=2).occurrences())


def test_numbers_grow_along_the_replay(played):
    numbers = [number_of(o.position) for o in played]

    assert numbers == sorted(set(numbers))
    assert numbers[0] >= 1


def test_a_board_ends_empty_when_all_changes_are_made(played):
    board = {}
    most = 0
    for change in (change_of(o, CLOCK) for o in played):
        if change.fields is None:
            del board[change.record]
        else:
            board.setdefault(change.record, {}).update(change.fields)
        most = max(most, len(board))

    assert board == {}
    assert most == 3


def test_a_change_says_when_it_really_was(played):
    delayed = next(o for o in played if o.event.kind is Kind.DELAYED)

    assert change_of(delayed, CLOCK).fields["update_time"] == CLOCK.real_at(delayed.at)


def test_the_first_change_of_a_flight_sets_all_fields(played):
    for change in (change_of(o, CLOCK) for o in played if o.event.kind is Kind.SCHEDULED):
        assert list(change.fields) == list(FIELDS)


def test_values_have_the_types_the_board_declares(played):
    for change in (change_of(o, CLOCK) for o in played):
        for name, value in (change.fields or {}).items():
            assert isinstance(value, FIELDS[name])


def test_a_change_becomes_one_mutation_with_its_number(played):
    change = change_of(next(o for o in played if o.event.kind is Kind.DELAYED), CLOCK)

    made = mutation(change, base_seq=7)

    assert (made.number, made.base_seq) == (change.number, 7)
    [operation] = made.operations
    assert operation.record == change.record
    assert operation.set.fields["delay_minutes"].integer_value == change.fields["delay_minutes"]
    expected = operation.set.fields["expected"].timestamp_value.ToDatetime()
    assert expected == change.fields["expected"].replace(tzinfo=None)


def test_clearing_a_flight_removes_its_record(played):
    change = change_of(next(o for o in played if o.event.kind is Kind.CLEARED), CLOCK)

    assert mutation(change, base_seq=0).operations[0].WhichOneof("action") == "delete"


def test_the_boards_schema_names_every_field():
    space = board_space("EWR")

    assert space_of("EWR") == "board-ewr"
    assert [field.name for field in space.schema.fields] == list(FIELDS)
    assert datetime in FIELDS.values()


def test_ids_of_records_come_back_every_other_loop(played):
    day = small_day()
    longer = Replay(day=day, events=events_of(day), loops=6).occurrences()

    assert len({change_of(o, CLOCK).record for o in longer}) == 2 * len(day.flights)
