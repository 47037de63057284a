"""Descriptor sets as one: the same as merging them all, for what a change costs alone."""

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, timestamp_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.compile.descriptors import InvalidDescriptors, merge
from gateway.compile.merged import Merged


FIELD = descriptor_pb2.FieldDescriptorProto
MANY = 300


def of(*files):
    found = descriptor_pb2.FileDescriptorSet()
    found.file.extend(files)
    return found.SerializeToString()


def file(name, *, messages=("M",), package="", imports=(), uses=""):
    made = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto",
        package=package or name,
        syntax="proto3",
        dependency=[f"{one}.proto" for one in imports],
    )
    for message in messages:
        one = made.message_type.add(name=message)
        if uses:
            one.field.add(name="f", number=1, label=1, type=FIELD.TYPE_MESSAGE, type_name=uses)
    made.service.add(name="S")
    made.source_code_info.location.add(path=[4, 0], leading_comments="Words.")
    return made


def names(joined):
    return [one.name for one in descriptor_pb2.FileDescriptorSet.FromString(joined).file]


def whole(sets):
    """What merging all of them says, but for the order of files."""
    merged = descriptor_pb2.FileDescriptorSet.FromString(merge(sets.values()))
    return {one.name: one.SerializeToString(deterministic=True) for one in merged.file}


def parts(joined):
    found = descriptor_pb2.FileDescriptorSet.FromString(joined)
    return {one.name: one.SerializeToString(deterministic=True) for one in found.file}


def own(number):
    """A service's set: two files of its own, and one that all share."""
    return of(
        file("shared"),
        file(f"types{number}", imports=["shared"], uses=".shared.M"),
        file(f"api{number}", imports=[f"types{number}"], uses=f".types{number}.M"),
    )


def test_a_change_of_one_set_costs_the_same_however_many_others_there_are():
    costs = []
    for many in (10, MANY):
        merged = Merged()
        sets = {f"services/s{n}": own(n) for n in range(many)}
        merged.of(sets)
        read, loaded = merged.work.read, merged.work.loaded
        changed = of(
            file("shared"),
            file("types3", imports=["shared"], uses=".shared.M", messages=("M", "N")),
            file("api3", imports=["types3"], uses=".types3.M"),
        )
        joined = merged.of({**sets, "services/s3": changed})
        assert len(names(joined)) == 2 * many + 1
        costs.append((merged.work.read - read, merged.work.loaded - loaded))
    assert costs == [(1, 3), (1, 3)]


def test_nothing_is_read_when_nothing_differs():
    merged = Merged()
    sets = {f"services/s{n}": own(n) for n in range(5)}
    before = merged.of(sets)
    read, loaded = merged.work.read, merged.work.loaded
    assert merged.of(dict(sets)) == before
    assert (merged.work.read, merged.work.loaded) == (read, loaded)


def test_what_another_has_read_is_not_read_again_nor_remembered_for_longer():
    one = Merged()
    other = Merged(one.known)
    sets = {f"services/s{n}": own(n) for n in range(5)}
    one.of(sets)
    other.check({**sets, "services/new": own(7)})
    assert (one.work.read, other.work.read) == (5, 1)
    one.of({})
    other.check({})
    assert not one.known


def test_files_stand_behind_what_they_import_and_without_comments():
    merged = Merged()
    joined = merged.of({"a": own(1), "b": own(2)})
    assert names(joined) == [
        "shared.proto",
        "types1.proto",
        "types2.proto",
        "api1.proto",
        "api2.proto",
    ]
    assert b"Words" not in joined
    assert merged.services("a") == {"shared.S", "types1.S", "api1.S"}
    assert merged.services("nobody") == frozenset()


def test_what_does_not_fit_changes_nothing():
    merged = Merged()
    sets = {"a": own(1), "b": own(2)}
    before = merged.of(sets)
    for wrong, complaint in (
        (of(file("shared", messages=("Other",))), "differs"),
        (of(file("x", imports=["nowhere"])), "isn't in the set"),
        (of(file("x", package="shared")), "shared.M"),
        (of(file("x", uses=".nothing.M")), "doesn't load"),
        (b"\xff", "isn't a serialised"),
    ):
        with pytest.raises(InvalidDescriptors, match=complaint):
            merged.of({**sets, "c": wrong})
        assert merged.of(sets) == before


def test_a_file_that_others_import_does_not_go_alone():
    merged = Merged()
    needs = of(file("x", imports=["shared"], uses=".shared.M"))
    merged.of({"a": own(1), "b": needs})
    with pytest.raises(InvalidDescriptors, match="isn't in the set"):
        merged.of({"b": needs})


def test_of_a_well_known_file_the_larger_version_is_used_while_it_is_there():
    small, large = (descriptor_pb2.FileDescriptorProto() for _ in range(2))
    timestamp_pb2.DESCRIPTOR.CopyToProto(small)
    timestamp_pb2.DESCRIPTOR.CopyToProto(large)
    large.message_type.add(name="Newer")
    uses = file("x", imports=["google/protobuf/timestamp"], uses=".google.protobuf.Timestamp")
    merged = Merged()
    only_small = {"a": of(small, uses)}
    both = {**only_small, "b": of(large)}
    assert b"Newer" not in merged.of(only_small)
    assert b"Newer" in merged.of(both)
    assert merged.of(only_small) == Merged().of(only_small)
    assert parts(merged.of(both)) == whole(both)


def test_real_descriptors_come_to_the_same_as_merging_them():
    http = descriptor_pb2.FileDescriptorSet()
    for one in (*annotations_pb2.DESCRIPTOR.dependencies, annotations_pb2.DESCRIPTOR):
        one.CopyToProto(http.file.add())
    descriptor_pb2.DESCRIPTOR.CopyToProto(http.file.add())
    sets = {"a": http.SerializeToString(), "b": own(1)}
    assert parts(Merged().of(sets)) == whole(sets)


POSSIBLE = {
    f"{kind}{n}": content
    for n in range(3)
    for kind, content in (
        ("own", own(n)),
        ("more", of(file("shared"), file(f"types{n}", messages=("M", "N")))),
        ("else", of(file("shared", messages=("M", "Z")))),
        ("needs", of(file(f"api{n}", imports=["shared"], uses=".shared.M"), file("shared"))),
        ("twice", of(file(f"other{n}", package="shared"))),
    )
}


class History(RuleBasedStateMachine):
    """Any way to a state comes to what merging that state says, and to what a new one says."""

    def __init__(self):
        super().__init__()
        self.merged = Merged()
        self.sets = {}

    @rule(owner=st.sampled_from("abcd"), what=st.sampled_from([*sorted(POSSIBLE), None]))
    def change(self, owner, what):
        wanted = {**self.sets, owner: POSSIBLE[what]} if what else dict(self.sets)
        if what is None:
            wanted.pop(owner, None)
        try:
            expected = whole(wanted)
        except InvalidDescriptors:
            with pytest.raises(InvalidDescriptors):
                self.merged.of(wanted)
            return
        assert parts(self.merged.of(wanted)) == expected
        self.sets = wanted

    @invariant()
    def comes_to_the_same_from_nothing(self):
        assert self.merged.of(self.sets) == Merged().of(self.sets)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


@given(st.permutations(sorted(["own0", "own1", "needs2", "own2"])))
def test_the_order_in_which_sets_come_makes_no_difference(order):
    sets = {name: POSSIBLE[name] for name in ("own0", "own1")}
    merged = Merged()
    for end in range(len(order)):
        chosen = {name: POSSIBLE[name] for name in order[: end + 1] if name in sets}
        merged.of(chosen)
    assert merged.of(sets) == Merged().of(dict(reversed(sets.items())))
