"""
Child processes: how one is started, recognised again, and ended for certain.

Every child leads a session of its own. So a Ctrl-C in the terminal reaches
only the supervisor, and whatever a child leaves behind is found by the
session's number, which the kernel gives to nobody else while a member lives.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO


LAUNCH = Path(__file__).parent / "launch.py"
INHERITED = ("LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")
PROC = Path("/proc")
LOOK_S = 0.02
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A system user to run a program as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run."""

    argv: Sequence[str]
    """The program, by absolute path, and its arguments."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """What it gets beyond `INHERITED`; nothing else of ours reaches it."""

    account: Account | None = None
    """Who runs it; None is whoever we are."""

    stop_signal: signal.Signals = signal.SIGTERM
    """What asks it to end in good order."""

    niceness: int = 0
    """How far it stands back when others want the processor; 0 to 19, as of nice(2)."""

    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when we are gone without having asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What tells a process from a later one with the same number."""

    pid: int
    ticks: int
    """When it started, in clock ticks since the machine did."""

    boot: str
    """Which start of the machine that was."""


def environment(command: Command) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **command.environment}


def argv(command: Command) -> list[str]:
    """*command* as given to the kernel: by way of `launch.py`."""
    account = command.account
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    words = (command.death_signal.value, os.getpid(), uid, gid, command.niceness)
    head = [sys.executable, "-I", "-S", str(LAUNCH), *map(str, words), "--"]
    return [*head, *command.argv]


def spawn(command: Command, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """
    Start *command* in a session of its own, writing to *output*.

    Call it from the thread that lives longest: the kernel takes the death of
    the thread that forked for the death of the parent.
    """
    return subprocess.Popen(
        argv(command),
        env=environment(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run_to_end(command: Command, timeout_s: float) -> None:
    """
    Run *command* and wait.

    Raises:
        subprocess.CalledProcessError: It failed; what it wrote is in `output`.
        subprocess.TimeoutExpired: It took longer than *timeout_s* and was killed.

    """
    subprocess.run(
        argv(command),
        env=environment(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        timeout=timeout_s,
        check=True,
        text=True,
    )


def trace(pid: int) -> Trace | None:
    """What identifies process *pid* from now on; None when there is none."""
    stat = _stat(pid)
    if stat is None:
        return None
    return Trace(pid=pid, ticks=stat.ticks, boot=BOOT_ID.read_text().strip())


def alive(wanted: Trace) -> bool:
    """Whether the process is there, is that one, and has not ended yet."""
    stat = _stat(wanted.pid)
    if stat is None or wanted.boot != BOOT_ID.read_text().strip():
        return False
    return stat.ticks == wanted.ticks and stat.state != "Z"


def session_members(leader: Trace) -> list[int]:
    """Ids of the living processes of the session that *leader* led, itself included."""
    if leader.boot != BOOT_ID.read_text().strip():
        return []
    at_head = _stat(leader.pid)
    if at_head is not None and at_head.ticks != leader.ticks:
        return []  # The number has a new owner, and so has its session.
    return [stat.pid for stat in all_stats() if stat.session == leader.pid and stat.state != "Z"]


def kill_session(leader: Trace) -> int:
    """Kill what is left of the session that *leader* led; return how many there were."""
    members = session_members(leader)
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(members)


def end_sessions(leaders: Collection[Trace], patience_s: float) -> int:
    """
    Kill what is left of the sessions of *leaders*; return how many processes that were.

    A leader that still lives was told to end by the kernel, and has *patience_s*
    to do so in good order. What a dead one left has had its chance.
    """
    killed = 0
    deadline = time.monotonic() + patience_s
    left = list(leaders)
    while left and time.monotonic() < deadline:
        dead = [leader for leader in left if not alive(leader)]
        killed += sum(map(kill_session, dead))
        left = [leader for leader in left if leader not in dead]
        time.sleep(LOOK_S)  # They are not our children: nobody tells us.
    return killed + sum(map(kill_session, left))


@dataclass(frozen=True, slots=True)
class Stat:
    """What the kernel says of a process."""

    pid: int
    parent: int
    state: str
    """One letter; `Z` has ended and only waits to be taken note of."""
    session: int
    ticks: int


def all_stats() -> Iterator[Stat]:
    """Every process there is."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            yield stat


def _stat(pid: int) -> Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, parentheses too.
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        ticks=int(fields[19]),
    )
