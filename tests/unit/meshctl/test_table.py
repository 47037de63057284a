import pytest

from meshctl import order
from meshctl.faults import MeshctlError
from meshctl.parts.table import parts
from meshctl.site import Options, Site
from meshctl.state import State


STOP_WITHIN_S = 4.6
"""Of the 5 s that stopping may take; the rest is for the supervisor itself."""


@pytest.fixture(params=[True, False], ids=["with the demo", "without it"])
def table(request, tmp_path):
    state = State(tmp_path / "state")
    with state.hold():
        yield parts(Site(state, Options(demo=request.param)))


def test_everything_can_start(table):
    needs = {part.name: part.needs for part in table}

    order.check(needs)
    assert order.startable(needs, set()) == {"postgres"}


def test_everything_ends_in_time_even_if_each_part_takes_all_of_its(table):
    calls = {part.name: part.stopped_before for part in table}
    order.check(calls)

    assert order.longest_stop_s(calls, {p.name: p.stop_within_s for p in table}) <= STOP_WITHIN_S


def test_no_two_parts_share_a_port(table):
    ports = [port for part in table for port in part.ports.values()]

    assert len(ports) == len(set(ports))


def test_names_are_fit_for_files_and_unique(table):
    names = [part.name for part in table]

    assert len(names) == len(set(names))
    assert all(name.isidentifier() for name in names)


def test_the_others_start_without_a_part_that_somebody_runs_himself(tmp_path):
    state = State(tmp_path / "state")
    with state.hold():
        table = parts(Site(state, Options(without=("gateway", "nats"))))
    order.check({part.name: part.needs for part in table})
    order.check({part.name: part.stopped_before for part in table})

    assert {"gateway", "nats"}.isdisjoint(part.name for part in table)


def test_doing_without_what_does_not_exist_is_refused_by_name(tmp_path):
    state = State(tmp_path / "state")
    with state.hold(), pytest.raises(MeshctlError, match="There is no part gatway"):
        parts(Site(state, Options(without=("gatway",))))
