"""Who wins, who loses, and what a device is told about it."""

from collections.abc import Mapping

import pytest

from syncd import clock, integrity, values
from syncd.limits import Limits
from syncd.merge import Merge, Slice
from syncd.model import (
    Batch,
    DeleteRecord,
    Field,
    Loss,
    Mutation,
    SetFields,
    Status,
    UnknownOperation,
)
from syncd.values import Kind


NOW_MS = 1_700_000_000_000
FIELDS = {
    "gate": Field(name="gate", kind=Kind.STRING, number=1),
    "delay": Field(name="delay", kind=Kind.INTEGER, number=2),
}


def empty() -> Slice:
    return Slice(
        head_seq=0,
        state_hash=integrity.EMPTY,
        records_next=1,
        fields=FIELDS,
        records={},
        remembered={},
        confirmed={},
    )


class Space:
    def __init__(self, **limits):
        self.slice = empty()
        self.losers = []
        self.limits = Limits(**limits)

    def push(self, device, *mutations, confirmed_through=0, now_ms=NOW_MS):
        merge = Merge(self.slice, now_ms=now_ms, limits=self.limits)
        batch = Batch(device=device, mutations=mutations, confirmed_through=confirmed_through)
        results = merge.apply(batch)
        self.losers += merge.written.losers
        return results[0] if len(results) == 1 else results

    def cells(self):
        return {
            record.record_id: {
                field.name: record.cells[field.number].value
                for field in FIELDS.values()
                if field.number in record.cells
            }
            for record in self.slice.records.values()
            if record.cells
        }

    def expected_hash(self):
        return (
            sum(
                integrity.cell_hash(record.record_id, number, cell.write.seq, cell.value)
                for record in self.slice.records.values()
                for number, cell in record.cells.items()
            )
            % integrity.MODULUS
        )


def setting(number, gate, *, base=0, hlc=None, record="UA1"):
    fields: Mapping[str, bytes] = {"gate": values.string(gate)}
    return Mutation(
        number=number,
        base_seq=base,
        hlc=clock.at(NOW_MS) + number if hlc is None else hlc,
        operations=(SetFields(record, fields),),
    )


def deleting(number, *, base=0, record="UA1"):
    hlc = clock.at(NOW_MS) + number
    return Mutation(number=number, base_seq=base, hlc=hlc, operations=(DeleteRecord(record),))


def gate(space, record="UA1"):
    cells = space.cells().get(record)
    return None if cells is None else values.as_string(cells["gate"])


def test_a_write_that_knew_of_the_other_wins_whatever_its_clock_says():
    space = Space()
    space.push("a", setting(1, "A1", hlc=clock.at(NOW_MS)))
    result = space.push("b", setting(1, "B2", base=1, hlc=clock.at(NOW_MS - 10**9)))
    assert result.status is Status.APPLIED
    assert gate(space) == "B2"
    assert not space.losers


def test_of_two_concurrent_writes_the_greater_clock_wins_and_the_other_is_journaled():
    space = Space()
    space.push("a", setting(1, "A1", hlc=clock.at(NOW_MS)))
    result = space.push("b", setting(1, "B2", hlc=clock.at(NOW_MS - 1)))
    assert (result.status, result.seq) == (Status.SUPERSEDED, 1)
    assert gate(space) == "A1"
    assert [(x.device, values.as_string(x.value), x.reason) for x in space.losers] == [
        ("b", "B2", Loss.OLDER)
    ]


def test_a_concurrent_winner_sends_the_value_it_replaced_to_the_journal():
    space = Space()
    space.push("a", setting(1, "A1", hlc=clock.at(NOW_MS)))
    assert space.push("b", setting(1, "B2", hlc=clock.at(NOW_MS + 1))).status is Status.APPLIED
    assert gate(space) == "B2"
    assert [(x.device, x.winner_seq) for x in space.losers] == [("a", 2)]


def test_equal_values_are_no_conflict_and_need_no_new_seq():
    space = Space()
    space.push("a", setting(1, "A1"))
    result = space.push("b", setting(1, "A1"))
    assert (result.status, result.seq) == (Status.APPLIED, 1)
    assert space.slice.head_seq == 1
    assert not space.losers


def test_a_clock_in_the_future_counts_as_two_seconds_ahead():
    space = Space()
    space.push("a", setting(1, "A1", hlc=clock.at(NOW_MS + 10**11)))
    later = clock.at(NOW_MS + 3000)
    space.push("b", setting(1, "B2", hlc=later), now_ms=NOW_MS + 3000)
    assert gate(space) == "B2"


def test_a_device_without_a_clock_writes_at_the_time_of_arrival():
    space = Space()
    space.push("a", setting(1, "A1", hlc=0))
    assert space.slice.records["UA1"].cells[1].write.hlc == clock.at(NOW_MS)


def test_repeating_a_mutation_gives_the_same_result_and_does_nothing():
    space = Space()
    first = space.push("a", setting(1, "A1"))
    space.push("b", setting(1, "B2", base=1))
    assert space.push("a", setting(1, "A1")) == first
    assert gate(space) == "B2"
    assert space.slice.head_seq == 2


def test_a_number_used_for_another_mutation_is_refused():
    space = Space()
    space.push("a", setting(1, "A1"))
    result = space.push("a", setting(1, "other"))
    assert (result.status, result.reason) == (Status.REJECTED, "MUTATION_NUMBER_REUSED")
    assert gate(space) == "A1"


def test_a_confirmed_mutation_that_comes_again_is_forgotten_not_applied():
    space = Space()
    space.push("a", setting(1, "A1"))
    space.push("a", setting(2, "A2"), confirmed_through=1)
    space.slice.remembered.clear()
    assert space.push("a", setting(1, "A1")).status is Status.FORGOTTEN
    assert gate(space) == "A2"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_device_s_own_order_holds_in_whatever_order_its_writes_arrive(order):
    space = Space()
    for number in order:
        space.push("a", setting(number, f"A{number}"))
    assert gate(space) == "A2"
    assert not space.losers


def test_a_removal_wins_over_a_write_that_did_not_know_of_it():
    space = Space()
    space.push("a", setting(1, "A1"))
    space.push("b", deleting(1, base=1))
    result = space.push("a", setting(2, "A2", base=1))
    assert result.status is Status.SUPERSEDED
    assert space.cells() == {}
    assert [(x.device, x.reason) for x in space.losers] == [("a", Loss.DELETED)]


def test_a_removal_wins_over_a_write_it_did_not_know_of_and_the_write_is_journaled():
    space = Space()
    space.push("a", setting(1, "A1"))
    space.push("a", setting(2, "A2", base=1))
    space.push("b", deleting(1, base=1))
    assert space.cells() == {}
    assert [values.as_string(x.value) for x in space.losers] == ["A2"]


def test_a_write_that_knew_of_the_removal_makes_the_record_anew():
    space = Space()
    space.push("a", setting(1, "A1"))
    space.push("b", deleting(1, base=1))
    assert space.push("a", setting(2, "A2", base=2)).status is Status.APPLIED
    record = space.slice.records["UA1"]
    assert gate(space) == "A2"
    assert (record.number, record.created_seq) == (1, 3)


def test_a_removal_that_arrives_before_the_write_it_followed_still_removes():
    space = Space()
    space.push("a", deleting(2))
    space.push("a", setting(1, "A1"))
    assert space.cells() == {}


def test_a_write_after_a_removal_by_the_same_device_survives_if_it_arrives_first():
    space = Space()
    space.push("a", setting(1, "A1"))
    space.push("a", setting(3, "A3"))
    space.push("a", deleting(2))
    assert gate(space) == "A3"
    assert space.slice.records["UA1"].cells[1].write.seq == space.slice.head_seq


def test_a_removal_leaves_alone_what_came_after_another_removal_it_did_not_know_of():
    space = Space()
    space.push("a", setting(1, "A1"))
    space.push("b", deleting(1, base=1))
    space.push("b", setting(2, "B2", base=2))
    result = space.push("c", deleting(1, base=1))
    assert (result.status, result.seq) == (Status.APPLIED, 2)
    assert gate(space) == "B2"


def test_a_late_mutation_that_removes_and_sets_does_not_undo_the_device_s_later_removal():
    space = Space()
    space.push("b", deleting(2))
    fields = {"gate": values.string("A1")}
    both = (DeleteRecord("UA1"), SetFields("UA1", fields))
    for device in ("a", "b"):
        space.push(device, Mutation(number=1, base_seq=0, hlc=0, operations=both))
    assert space.cells() == {}


def test_the_operations_of_a_mutation_take_effect_in_order_with_one_seq():
    space = Space()
    operations = (
        SetFields("UA1", {"gate": values.string("A1")}),
        DeleteRecord("UA1"),
        SetFields("UA1", {"delay": values.integer(5)}),
    )
    space.push("a", Mutation(number=1, base_seq=0, hlc=0, operations=operations))
    assert space.slice.head_seq == 1
    assert space.cells() == {"UA1": {"delay": values.integer(5)}}


def test_a_mutation_that_wins_in_part_is_merged():
    space = Space()
    space.push("a", setting(1, "A1", hlc=clock.at(NOW_MS)))
    fields = {"gate": values.string("B2"), "delay": values.integer(5)}
    older = clock.at(NOW_MS - 1)
    operations = (SetFields("UA1", fields),)
    result = space.push("b", Mutation(number=1, base_seq=0, hlc=older, operations=operations))
    assert result.status is Status.MERGED
    assert space.cells()["UA1"] == {"gate": values.string("A1"), "delay": values.integer(5)}


REFUSED = {
    "OPERATIONS_MISSING": (),
    "OPERATIONS_TOO_MANY": (DeleteRecord("r"),) * 257,
    "OPERATION_UNKNOWN": (UnknownOperation("r"),),
    "RECORD_ID_INVALID": (DeleteRecord("a/b"),),
    "FIELDS_MISSING": (SetFields("r", {}),),
    "FIELD_UNKNOWN": (SetFields("r", {"colour": values.NULL}),),
    "VALUE_INVALID": (SetFields("r", {"gate": values.INVALID}),),
    "VALUE_TYPE_WRONG": (SetFields("r", {"gate": values.integer(1)}),),
    "VALUE_TOO_LARGE": (SetFields("r", {"gate": values.string("x" * 65_537)}),),
    "MUTATION_TOO_LARGE": tuple(
        SetFields(f"r{n}", {"gate": values.string("x" * 65_536)}) for n in range(8)
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_can_never_take_effect_is_rejected_whole_and_remembered(reason):
    space = Space()
    good = SetFields("good", {"gate": values.string("A1")})
    operations = (good, *REFUSED[reason]) if REFUSED[reason] else ()
    mutation = Mutation(number=1, base_seq=0, hlc=0, operations=operations)
    result = space.push("a", mutation)
    assert (result.status, result.reason) == (Status.REJECTED, reason)
    assert space.cells() == {}
    assert space.push("a", mutation) == result


def test_a_rejected_mutation_holds_up_no_other_of_its_batch():
    space = Space()
    bad = Mutation(number=1, base_seq=0, hlc=0, operations=())
    results = space.push("a", bad, setting(2, "A2"))
    assert [result.status for result in results] == [Status.REJECTED, Status.APPLIED]


@pytest.mark.parametrize("number", [0, 2**63])
def test_a_number_outside_its_range_is_rejected(number):
    result = Space().push("a", setting(number, "A1", hlc=1))
    assert result.reason == "NUMBER_INVALID"


def test_a_base_seq_the_space_has_not_reached_is_rejected():
    assert Space().push("a", setting(1, "A1", base=1)).reason == "BASE_SEQ_IN_FUTURE"


def test_a_full_space_takes_no_new_record_but_changes_to_old_ones():
    space = Space(records_max=1)
    space.push("a", setting(1, "A1"))
    assert space.push("a", setting(2, "A2", record="UA2")).reason == "SPACE_FULL"
    assert space.push("a", setting(3, "A3")).status is Status.APPLIED


def test_the_hash_kept_step_by_step_is_the_hash_of_the_cells():
    space = Space()
    space.push("a", setting(1, "A1"), setting(2, "A2", record="UA2"))
    space.push("b", setting(1, "B1", base=2), deleting(2, base=2, record="UA2"))
    space.push("a", setting(3, "B1", base=1))
    assert space.slice.state_hash == space.expected_hash() != integrity.EMPTY
    space.push("b", deleting(3, base=3))
    assert space.slice.state_hash == integrity.EMPTY
