import os
import subprocess
import sys

from meshctl.measure import pss_bytes
from meshctl.processes import Trace, alive, end_sessions, kill_session, session_members, trace


FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def family():
    """A leader of a session, and the number of the child it has."""
    leader = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", FAMILY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    return leader, int(leader.stdout.readline())


def close(leader):
    leader.stdin.close()
    leader.stdout.close()
    leader.wait()


def test_another_process_with_the_same_number_is_not_the_same():
    me = trace(os.getpid())
    earlier = Trace(pid=me.pid, ticks=me.ticks - 1, boot=me.boot)
    other_boot = Trace(pid=me.pid, ticks=me.ticks, boot="another")

    assert alive(me)
    assert not alive(earlier)
    assert not alive(other_boot)
    assert session_members(earlier) == session_members(other_boot) == []


def test_a_session_is_found_by_its_leader_even_after_that_has_ended():
    leader, child = family()
    found = trace(leader.pid)
    both = session_members(found)
    leader.kill()
    close(leader)
    left = session_members(found)
    killed = end_sessions([found], patience_s=0.1)

    assert set(both) == {leader.pid, child}
    assert left == [child]
    assert killed == 1


def test_a_living_leader_has_its_time_and_is_then_ended():
    leader, _ = family()
    killed = end_sessions([trace(leader.pid)], patience_s=0.05)
    close(leader)

    assert killed == 2
    assert leader.returncode == -9


def test_memory_of_a_part_counts_its_children_and_each_process_once():
    leader, child = family()
    found = trace(leader.pid)
    whole = pss_bytes({leader.pid})[leader.pid]
    apart = pss_bytes({leader.pid, child})
    kill_session(found)
    close(leader)

    assert 0 < apart[child] < whole
    assert pss_bytes({leader.pid}) == {leader.pid: 0}
