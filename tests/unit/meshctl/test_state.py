import json
import os
import socket
import stat
import subprocess
import sys

import pytest

from meshctl import exits
from meshctl.faults import MeshctlError
from meshctl.processes import trace
from meshctl.state import PORT_FIRST, PORT_LAST, SOCKET_PATH_BYTES_MAX, State, default_folder


def test_a_second_holder_is_told_who_holds_it_and_what_to_do(tmp_path):
    with State(tmp_path).hold(), pytest.raises(MeshctlError) as raised, State(tmp_path).hold():
        pass

    assert f"started by process {os.getpid()}" in str(raised.value)
    assert "meshctl down" in raised.value.remedy
    assert raised.value.exit_code == exits.ALREADY_RUNNING


def test_the_holder_is_known_to_others_and_gone_when_it_is(tmp_path):
    state = State(tmp_path)
    with state.hold():
        during = State(tmp_path).holder()

    assert during.pid == os.getpid()
    assert State(tmp_path).holder() is None


def test_a_killed_holder_holds_nothing(tmp_path):
    code = (
        "import sys, signal; from pathlib import Path; from meshctl.state import State\n"
        "with State(Path(sys.argv[1])).hold(): print('held', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    process.stdout.readline()
    during = State(tmp_path).holder()
    process.kill()
    process.wait()
    process.stdout.close()

    assert during.pid == process.pid
    with State(tmp_path).hold():
        assert State(tmp_path).holder().pid == os.getpid()


def test_a_port_is_the_same_at_the_next_start(tmp_path):
    with State(tmp_path).hold():
        state = State(tmp_path)
        first = state.port("edge")
        other = state.port("relay")
    again = State(tmp_path)
    with again.hold():
        assert again.port("edge") == first
    assert PORT_FIRST <= first <= PORT_LAST
    assert other != first


def test_a_remembered_port_that_is_taken_is_replaced(tmp_path):
    state = State(tmp_path)
    with state.hold():
        first = state.port("edge")
    with state.hold(), socket.socket() as taker:
        taker.bind(("127.0.0.1", first))
        taker.listen()
        second = state.port("edge")

    assert second != first


def test_a_port_stays_while_its_part_uses_it(tmp_path):
    state = State(tmp_path)
    with state.hold(), socket.socket() as part:
        port = state.port("gateway")
        part.bind(("127.0.0.1", port))
        part.listen()

        assert state.port("gateway") == port


def test_a_wanted_port_that_is_taken_is_refused_with_its_holder(tmp_path):
    state = State(tmp_path)
    with state.hold(), socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        port = taker.getsockname()[1]
        with pytest.raises(MeshctlError, match=f"Port {port} is taken by process {os.getpid()}"):
            state.port("edge", wanted=port)


def test_a_long_folder_has_its_sockets_elsewhere_while_it_is_held(tmp_path):
    state = State(tmp_path / ("d" * 60) / ("e" * 60))
    with state.hold():
        place = state.run
        inside = place.is_dir()

    assert inside
    assert len(os.fsencode(place)) < SOCKET_PATH_BYTES_MAX - 40
    assert not place.exists()


def test_after_a_crash_the_sockets_are_found_where_they_were(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    code = (
        "import os, sys, signal; from pathlib import Path; from meshctl.state import State\n"
        "state = State(Path(sys.argv[1]))\n"
        "with state.hold(): print(state.run, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    crashed = subprocess.run(
        [sys.executable, "-c", code, deep], stdout=subprocess.PIPE, text=True, check=False
    )
    state = State(deep)
    with state.hold():
        found = state.run

    assert str(found) == crashed.stdout.strip()


def test_only_we_can_read_what_is_kept(tmp_path):
    state = State(tmp_path / "state")
    with state.hold():
        state.port("edge")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.folder.iterdir()}

    assert modes["ports.json"] == modes["lock"] == 0o600
    assert modes["identity"] == modes["join"] == modes["logs"] == 0o700


def test_a_process_is_found_again_by_more_than_its_number(tmp_path):
    state = State(tmp_path)
    with state.hold():
        state.remember("me", trace(os.getpid()))
        (tmp_path / "processes" / "torn.json").write_text('{"pid": 1')
        found = state.remembered()

    assert found == {"me": trace(os.getpid())}


def test_a_broken_ports_file_is_named_with_what_to_do(tmp_path):
    (tmp_path / "ports.json").write_text("{")
    broken = pytest.raises(MeshctlError, match=r"ports\.json can't be read")
    with broken as raised, State(tmp_path).hold():
        pass

    assert raised.value.remedy == "remove that file"


def test_the_folder_is_told_or_the_system_s_own(tmp_path):
    assert default_folder({"MESH_STATE": str(tmp_path)}) == tmp_path
    expected = "/var/lib/aerofusion-mesh" if os.geteuid() == 0 else "/x/aerofusion-mesh"
    assert str(default_folder({"XDG_STATE_HOME": "/x"})) == expected


def test_ports_file_is_plain_json(tmp_path):
    state = State(tmp_path)
    with state.hold():
        port = state.port("edge")

    assert json.loads((tmp_path / "ports.json").read_text()) == {"edge": port}
