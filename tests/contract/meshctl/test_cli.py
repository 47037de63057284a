"""What a person at the command line may rely on, with a real mesh of three parts."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from meshctl import exits
from meshctl.processes import end_sessions
from meshctl.state import State


ROOT = Path(__file__).parents[3]
LEFT_OUT = ("preflight", "deadman", "relay", "envoy", "notifier", "syncd", "telemetry", "mailsink")
SMALL = ("--no-demo", *(word for part in LEFT_OUT for word in ("--without", part)))
COMMAND_WITHIN_S = 50


def meshctl(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "meshctl", "--state", str(folder), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
        check=False,
    )


def answer(folder, *words):
    run = meshctl(folder, *words, "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def mesh(own_folder):
    run = meshctl(own_folder, "up", "--detach", *SMALL)
    assert run.returncode == 0, run.stderr
    yield own_folder
    assert meshctl(own_folder, "down").returncode == 0


@pytest.fixture(scope="module")
def own_folder():
    """Not under pytest's: that one is closed to the user the database runs as."""

    folder = Path(tempfile.mkdtemp(prefix="mesh cli-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_without_a_mesh_status_says_so_and_what_to_do(tmp_path):
    run = meshctl(tmp_path, "status")

    assert run.returncode == exits.UNAVAILABLE
    assert run.stderr == f"meshctl: No mesh runs on {tmp_path}.\nTry: meshctl up\n"


def test_stopping_what_does_not_run_is_done_already(tmp_path):
    assert answer(tmp_path, "down") == {"stopped_after_s": 0.0, "was_running": False}


def test_a_setting_that_nobody_reads_is_refused_before_anything_starts(tmp_path):
    run = meshctl(tmp_path / "state", "up", "--set", "NOTIFER_WORKERS=2")

    assert run.returncode == exits.CONFIG
    assert "NOTIFER_WORKERS is a setting of no part" in run.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_a_port_that_is_taken_is_refused_with_its_holder(tmp_path, how):
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        port = taker.getsockname()[1]
        run = meshctl(tmp_path, "up", "--port-edge", str(port), *how)

    assert run.returncode == exits.CONFIG
    assert f"Port {port} is taken by process {os.getpid()}" in run.stderr
    assert "Try: " in run.stderr


def test_a_part_that_refuses_its_settings_is_shown_and_all_is_stopped(own_folder):
    folder = own_folder / "misled"
    run = meshctl(folder, "up", "--detach", *SMALL, "--set", "GATEWAY_NO_SUCH=1")

    assert run.returncode == exits.FAILED
    assert "gateway: failed" in run.stderr
    assert "GATEWAY_NO_SUCH: no such setting" in run.stderr
    assert State(folder).holder() is None
    assert State(folder).remembered() == {}


def test_status_tells_what_runs_where(mesh):
    found = answer(mesh, "status")
    parts = {part["name"]: part for part in found["parts"]}

    assert found["ready"]
    assert set(parts) == {"postgres", "gateway", "nats"}
    assert all(part["phase"] == "ready" and part["memory_bytes"] > 0 for part in found["parts"])
    assert found["memory_bytes"] >= sum(part["memory_bytes"] for part in found["parts"])
    assert parts["gateway"]["ports"]["grpc"] > 0
    assert found["edges"] == []


def test_a_second_up_is_refused_and_says_how_to_stop_the_first(mesh):
    run = meshctl(mesh, "up", *SMALL)
    pid = answer(mesh, "status")["pid"]

    assert run.returncode == exits.ALREADY_RUNNING
    assert f"started by process {pid}" in run.stderr
    assert "meshctl down" in run.stderr


def test_a_token_says_what_was_asked_for(mesh):
    found = answer(
        mesh,
        "token",
        "--subject",
        "passengers/p1",
        "--role",
        "passenger",
        "--tenant",
        "nyc",
        "--ttl",
        "60",
    )

    assert found["token"].count(".") == 2
    assert found["token_id"]


def test_what_the_gateway_refuses_is_told_with_its_reason(mesh):
    run = meshctl(mesh, "token", "--subject", "nobody", "--role", "operator")

    assert run.returncode == exits.FAILED
    assert "(TOKEN_REQUEST_INVALID)" in run.stderr


def test_a_service_is_created_changed_and_deleted_and_its_history_stays(mesh):
    made = answer(
        mesh, "service", "create", "flights", "--endpoint", "127.0.0.1:9", "--role", "service"
    )
    changed = answer(
        mesh, "service", "update", "flights", "--etag", made["etag"], "--endpoint", "127.0.0.1:10"
    )
    stale = meshctl(
        mesh, "service", "update", "flights", "--etag", made["etag"], "--description", "late"
    )
    names = {item["name"] for item in answer(mesh, "service", "list")}
    answer(mesh, "service", "delete", "flights", "--etag", changed["etag"])
    gone = meshctl(mesh, "service", "get", "flights")
    history = [item["action"] for item in answer(mesh, "service", "history", "flights")]

    assert changed["endpoints"][0]["port"] == 10
    assert changed["access"] == {"roles": ["service"]}
    assert stale.returncode == exits.FAILED
    assert {"services/flights", "services/gateway"} <= names
    assert gone.returncode == exits.FAILED
    assert history == ["ACTION_DELETE", "ACTION_UPDATE", "ACTION_CREATE"]


def test_a_route_is_read_from_a_file_and_from_options(mesh, tmp_path):
    file = tmp_path / "route.json"
    match = {
        "grpcService": "aerofusion.sync.v1.SpaceService",
        "headers": [{"name": "x-canary", "present": True}],
    }
    file.write_text(json.dumps({"match": match}))
    answer(mesh, "route", "create", "syncd/canary", "--file", str(file), "--to", "syncd:90")
    found = answer(mesh, "route", "get", "syncd/canary")
    listed = meshctl(mesh, "route", "list", "syncd")
    answer(mesh, "route", "delete", "syncd/canary")

    assert found["destinations"] == [{"service": "services/syncd", "weight": 90}]
    assert found["match"]["headers"] == [{"name": "x-canary", "present": True}]
    assert "canary" in listed.stdout


def test_a_file_that_holds_something_else_is_refused(mesh, tmp_path):
    file = tmp_path / "route.json"
    file.write_text('{"colour": "red"}')
    run = meshctl(mesh, "route", "create", "syncd/red", "--file", str(file))

    assert run.returncode == exits.CONFIG
    assert "is no Route" in run.stderr


def test_logs_show_the_last_lines_and_name_what_there_is(mesh):
    shown = meshctl(mesh, "logs", "postgres", "-n", "1000")
    unknown = meshctl(mesh, "logs", "postgre")

    assert "database system is ready to accept connections" in shown.stdout
    assert unknown.returncode == exits.FAILED
    assert "gateway, meshctl, nats, postgres" in unknown.stderr


@pytest.mark.timeout(180)
def test_after_the_supervisor_is_killed_the_next_one_finds_the_data(own_folder):
    folder = own_folder / ("too-long-for-the-path-of-a-socket-" * 3)
    meshctl(folder, "up", "--detach", *SMALL)
    answer(folder, "service", "create", "kept")
    status = answer(folder, "status")
    left = State(folder).remembered().values()
    descriptors = [os.pidfd_open(part["pid"]) for part in status["parts"]]
    os.kill(status["pid"], signal.SIGKILL)
    ended = [_ended(descriptor) for descriptor in descriptors]
    again = meshctl(folder, "up", "--detach", *SMALL)
    names = {item["name"] for item in answer(folder, "service", "list")}
    ports = [part["ports"] for part in answer(folder, "status")["parts"]]
    meshctl(folder, "down")

    assert ended == [True, True, True]
    assert again.returncode == 0, again.stderr
    assert "services/kept" in names
    assert ports == [part["ports"] for part in status["parts"]]
    assert end_sessions(left, 0) == 0


def _ended(descriptor):

    readable, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    return bool(readable)
