"""How a service's process ends, and what it says then."""

import json
import os
import signal
import subprocess
import sys

import pytest


PROGRAM = """
import asyncio, sys
from meshkit.errors import Unavailable
from meshkit.main import run_service
from meshkit.settings import MeshSettings

async def serve(settings, *, stop, started):
    how = sys.argv[2]
    async with asyncio.TaskGroup() as tasks:
        if how == "bug":
            secret = "hunter2"
            tasks.create_task(asyncio.to_thread(__import__("threading").Event().wait, 600))
            raise RuntimeError("a bug")
        if how == "away":
            raise Unavailable("POSTGRES_UNAVAILABLE", "The database is away.")
        started.set_result(7)
        print("up", flush=True)
        await stop.wait()

sys.exit(run_service("demo", MeshSettings, serve, [sys.argv[1]]))
"""


def start(command, how="run", **environ):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, command, how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_signal_ends_it_with_zero():
    with start("serve") as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)

    assert process.returncode == 0


def test_a_bad_configuration_ends_it_with_78_and_every_problem():
    with start("check-config", DEMO_REPLCA="1", DEMO_SHUTDOWN_GRACE="x") as process:
        _, said = process.communicate(timeout=20)

    assert process.returncode == 78
    assert "DEMO_REPLCA" in said
    assert "DEMO_SHUTDOWN_GRACE" in said


def test_what_is_away_ends_it_with_69():
    with start("serve", "away") as process:
        _, said = process.communicate(timeout=20)

    assert process.returncode == 69
    assert "The database is away." in said


@pytest.mark.parametrize("how", ["bug"])
def test_a_bug_ends_it_at_once_with_a_trace_and_without_its_variables(how):
    with start("serve", how) as process:
        _, said = process.communicate(timeout=20)
    crash = json.loads(said.strip().splitlines()[-1])

    assert process.returncode == 70
    assert crash["event"] == "crashed"
    assert "a bug" in json.dumps(crash["exception"])
    assert "hunter2" not in said
