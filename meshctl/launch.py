"""
Becomes another program that dies with the process that asked for it.

Run as a script: `python -I -S launch.py SIGNAL PARENT UID GID NICE -- program argument...`

A supervisor killed with -9 can stop nothing, so the kernel has to: it sends
SIGNAL to a process whose parent is gone. That wish is cleared by a change of
user, so both happen here, in this order, after the fork and before the
program: a program between the two, rather than code in a forked child, since
the supervisor has threads. UID and GID are -1 to stay who we are. NICE is how far
the program stands back when others want the processor (nice(2)), 0 to 19.
"""

import ctypes
import os
import signal
import sys


PR_SET_PDEATHSIG = 1
EX_OSERR = 71  # As in sysexits.h: the system refused.


def main(argv: list[str]) -> int:
    """Replace this process with the program; return only when that failed."""
    death_signal, parent, uid, gid, nice = map(int, argv[:5])
    program = argv[6:]
    os.chdir("/")
    stand_back(nice)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        sys.stderr.write(f"launch: prctl: {os.strerror(ctypes.get_errno())}\n")
        return EX_OSERR
    if os.getppid() != parent:  # It died before the wish was made.
        return EX_OSERR
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execv(program[0], program)  # noqa: S606  # no shell is the point
    except OSError as error:
        sys.stderr.write(f"launch: {program[0]}: {error.strerror}\n")
    return EX_OSERR


def stand_back(nice: int) -> None:
    """Yield the processor to others by *nice*; within the group that the kernel may have made."""
    if nice == 0:
        return
    os.nice(nice)
    try:
        # Where sessions are scheduled as groups, only the group's niceness counts (sched(7)).
        with open("/proc/self/autogroup", "w") as group:  # noqa: PTH123  # pathlib takes 20 ms
            group.write(str(nice))
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
