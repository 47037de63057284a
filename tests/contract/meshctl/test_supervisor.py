"""What the supervisor owes its parts, seen on real processes."""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from meshctl.backoff import Backoff
from meshctl.faults import MeshctlError
from meshctl.parts.part import Part, Phase
from meshctl.processes import Command, alive, trace
from meshctl.state import State
from meshctl.supervisor import Supervisor
from tests.fixtures.waiting import until


ROOT = Path(__file__).parents[3]
SAY_READY = """
import os, signal, socket, sys, time
def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
"""
WITHIN_S = 20
IMPATIENT = Backoff(first_s=0.01, at_most_s=0.05)


def python(name, code, needs=(), **options):
    async def prepare():
        return Command(argv=[sys.executable, "-I", "-S", "-c", SAY_READY + code])

    return Part(name=name, prepare=prepare, needs=needs, **options)


def steady(name, needs=(), **options):
    return python(name, "ready(); signal.pause()", needs, **options)


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    with state.hold():
        yield state


@contextlib.asynccontextmanager
async def running(parts, state, **options):
    told, spoken = [], asyncio.Event()

    def tell(part, what):
        told.append((part, what))
        spoken.set()

    async def was_told(part, what):
        while (part, what) not in told:
            spoken.clear()
            await spoken.wait()

    supervisor = Supervisor(parts, state, tell=tell, backoff=IMPATIENT, **options)
    supervisor.told, supervisor.was_told = told, was_told
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run())
        try:
            yield supervisor
        finally:
            supervisor.stop()


def all_are(phase):
    return lambda found: all(status.phase is phase for status in found)


def by_name(found):
    return {status.name: status for status in found}


async def test_a_part_starts_only_when_what_it_needs_is_ready(state, tmp_path):
    """`first` says that it is ready only once it has seen this test's file."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    first = python("first", f"open({str(gate)!r}).read(); ready(); signal.pause()")
    async with running([steady("second", needs=("first",)), first, steady("free")], state) as mesh:
        found = await mesh.wait_until(lambda f: by_name(f)["free"].phase is Phase.READY)
        before = by_name(found)
        await asyncio.to_thread(gate.write_text, "open")
        await mesh.wait_until(all_are(Phase.READY))

    assert before["first"].phase is Phase.STARTING
    assert before["second"].phase is Phase.WAITING
    assert before["second"].pid == 0


async def test_stopping_goes_from_what_nobody_needs_to_what_all_need(state):
    parts = [steady("base"), steady("middle", ("base",)), steady("top", ("middle", "base"))]
    async with running(parts, state) as mesh:
        await mesh.wait_until(all_are(Phase.READY))
    stopped = [part for part, what in mesh.told if what == "stopped"]

    assert stopped == ["top", "middle", "base"]


async def test_a_killed_part_is_started_again_and_the_others_stay(state):
    async with running([steady("base"), steady("top", ("base",))], state) as mesh:
        before = by_name(await mesh.wait_until(all_are(Phase.READY)))
        os.kill(before["base"].pid, signal.SIGKILL)
        after = by_name(
            await mesh.wait_until(
                lambda f: (
                    by_name(f)["base"].restarts == 1 and by_name(f)["base"].phase is Phase.READY
                )
            )
        )

    assert after["base"].pid != before["base"].pid
    assert after["top"].pid == before["top"].pid
    assert after["top"].restarts == 0
    assert ("base", "was killed by SIGKILL") in mesh.told


async def test_a_part_that_keeps_failing_waits_longer_each_time(state):
    chances = iter([0.0] * 100)
    async with running(
        [python("broken", "sys.exit(3)")], state, chance=lambda: next(chances)
    ) as mesh:
        found = await mesh.wait_until(lambda f: f[0].restarts >= 4)
    waits = [what for part, what in mesh.told if what.startswith("starts again")]

    assert found[0].problem == "ended with exit code 3"
    assert waits[:4] == [f"starts again in {s:.1f} s" for s in (0.01, 0.02, 0.04, 0.05)]


async def test_a_part_whose_configuration_is_at_fault_is_not_started_again(state):
    async with running([python("misled", "sys.exit(78)"), steady("other")], state) as mesh:
        found = await mesh.wait_until(
            lambda f: f[0].phase is Phase.FAILED and f[1].phase is Phase.READY
        )

    assert found[0].problem == "ended with exit code 78"
    assert [what for part, what in mesh.told if part == "misled"].count("starting") == 1


async def test_a_preparation_that_fails_is_a_start_that_failed(state):
    attempts = []

    async def prepare():
        attempts.append(1)
        if len(attempts) < 3:
            raise MeshctlError("nobody gave me a token")
        return Command(
            argv=[sys.executable, "-I", "-S", "-c", SAY_READY + "ready(); signal.pause()"]
        )

    async with running([Part(name="shy", prepare=prepare)], state) as mesh:
        await mesh.wait_until(all_are(Phase.READY))

    assert mesh.told.count(("shy", "nobody gave me a token")) == 2


async def test_a_part_that_is_never_ready_is_ended_and_says_so(state):
    part = python("mute", "signal.pause()", ready_within_s=0.2)
    async with running([part], state) as mesh:
        found = await mesh.wait_until(lambda f: f[0].phase is Phase.PAUSED)

    assert found[0].problem == "was not ready within 0.2 s"
    assert found[0].pid == 0


async def test_a_part_that_ignores_the_stop_signal_is_killed_in_time(state):
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); signal.pause(); signal.pause()"
    async with running([python("stubborn", code, stop_within_s=0.2)], state) as mesh:
        found = await mesh.wait_until(all_are(Phase.READY))
        process = trace(found[0].pid)

    assert ("stubborn", "took too long to end and was killed") in mesh.told
    assert not alive(process)


async def test_what_a_part_started_ends_with_it(state, tmp_path):
    note = tmp_path / "child"
    os.mkfifo(note)
    code = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
ready()
open({str(note)!r}, "w").write(str(child.pid))
signal.pause()
"""
    async with running([python("parent", code)], state) as mesh:
        child = trace(int(await asyncio.to_thread(note.read_text)))
        await mesh.wait_until(all_are(Phase.READY))

    # Killed with its group; a moment may pass until it is gone.
    await asyncio.to_thread(until, lambda: not alive(child), "its end", within_s=5)


async def test_a_program_that_does_not_exist_is_a_start_that_failed(state):
    async def prepare():
        return Command(argv=["/no/such/program"])

    async with running([Part(name="absent", prepare=prepare)], state) as mesh:
        found = await mesh.wait_until(lambda f: f[0].restarts >= 2)

    assert found[0].problem == "ended with exit code 71"
    assert "/no/such/program: No such file or directory" in state.log_file("absent").read_text()


async def test_a_start_that_cannot_be_recorded_leaves_nothing_and_is_tried_again(state):
    state.processes.rmdir()
    state.processes.write_text("in the way")
    async with running([steady("part")], state) as mesh:
        found = await mesh.wait_until(lambda f: f[0].phase is Phase.PAUSED)
        state.processes.unlink()
        state.processes.mkdir()
        await mesh.wait_until(all_are(Phase.READY))

    assert found[0].pid == 0
    assert "Not a directory" in found[0].problem


async def test_what_goes_on_beside_a_part_ends_with_it(state):
    begun, ended = [], []

    async def keep(send):
        begun.append(send)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(send)

    async with running([steady("part", keep=keep)], state) as mesh:
        await mesh.wait_until(all_are(Phase.READY))
        mesh.restart("part")
        await mesh.wait_until(lambda f: f[0].restarts == 1 and f[0].phase is Phase.READY)

    assert len(begun) == len(ended) == 2


async def test_a_fault_in_what_goes_on_beside_a_part_is_told_and_the_part_stays(state):
    async def keep(_send):
        raise MeshctlError("the certificate can't be renewed")

    async with running([steady("part", keep=keep)], state) as mesh:
        await mesh.wait_until(all_are(Phase.READY))
        fault = "is not kept up to date: the certificate can't be renewed"
        await mesh.was_told("part", fault)
        found = mesh.statuses()

    assert found[0].restarts == 0


async def test_a_restart_on_request_is_immediate_and_in_good_order(state):
    async with running([steady("part")], state) as mesh:
        before = (await mesh.wait_until(all_are(Phase.READY)))[0]
        mesh.restart("part")
        after = (await mesh.wait_until(lambda f: f[0].restarts == 1 and f[0].phase is Phase.READY))[
            0
        ]

    assert after.pid != before.pid
    assert not any("starts again" in what for _, what in mesh.told)


async def test_restarting_what_does_not_exist_names_what_does(state):
    async with running([steady("part")], state) as mesh:
        with pytest.raises(MeshctlError, match="There is no part prat") as raised:
            mesh.restart("prat")

    assert raised.value.remedy == "one of: part"


async def test_a_child_sees_nothing_of_our_environment_but_what_it_is_given(state, monkeypatch):
    monkeypatch.setenv("NOTIFIER_SECRET", "from the outside")
    code = "print(sorted(os.environ), flush=True); ready(); signal.pause()"
    async with running([python("part", code)], state) as mesh:
        await mesh.wait_until(all_are(Phase.READY))
    names = state.log_file("part").read_text()

    assert "NOTIFY_SOCKET" in names
    assert "NOTIFIER_SECRET" not in names


HARNESS = """
import asyncio, sys
from pathlib import Path
from meshctl.state import State
from meshctl.supervisor import Supervisor
from meshctl.parts.part import Part, Phase
from meshctl.processes import Command

CODE = {code!r}

async def main():
    async def prepare():
        return Command(argv=[sys.executable, "-I", "-S", "-c", CODE])
    state = State(Path({folder!r}))
    with state.hold():
        mesh = Supervisor([Part(name=n, prepare=prepare) for n in ("a", "b")], state)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mesh.run())
            found = await mesh.wait_until(lambda f: all(s.phase is Phase.READY for s in f))
            print(*(s.pid for s in found), flush=True)

asyncio.run(main())
"""
STUBBORN_WITH_CHILD = SAY_READY + textwrap.dedent("""
    import subprocess
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
    ready()
    signal.pause()
""")


async def test_nothing_is_left_after_the_supervisor_is_killed(tmp_path):
    code = HARNESS.format(code=STUBBORN_WITH_CHILD, folder=str(tmp_path / "state"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=subprocess.PIPE
    )
    pids = [int(word) for word in (await process.stdout.readline()).split()]
    descriptors = [os.pidfd_open(pid) for pid in (*pids, *_children(pids))]
    process.kill()
    await process.wait()
    ended = [await asyncio.to_thread(_ended, descriptor) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)

    assert ended == [True] * 4


def _children(pids):
    paths = (Path(f"/proc/{pid}/task/{pid}/children") for pid in pids)
    return [int(word) for path in paths for word in path.read_text().split()]


def _ended(descriptor):
    readable, _, _ = select.select([descriptor], [], [], WITHIN_S)
    return bool(readable)


async def test_a_part_that_ends_just_when_its_time_is_over_ends_the_others_in_order_too(state):
    """Whichever of the two comes first, at each of many attempts."""
    code = "signal.signal(signal.SIGTERM, lambda *_: (signal.sigtimedwait([], 0.05), sys.exit())); ready()\n"
    parts = [
        python(f"late{n}", code + "signal.pause()", stop_within_s=0.044 + n * 0.001)
        for n in range(16)
    ]
    async with running(parts, state) as mesh:
        await mesh.wait_until(all_are(Phase.READY))
    found = mesh.statuses()

    assert {status.phase for status in found} == {Phase.STOPPED}
    assert {status.pid for status in found} == {0}
