"""
Runs test suites, three at a time, each in a pytest of its own.

    python -m tests.suites unit+scenarios contract/gateway -- -k token

A suite is one or more paths under `tests/`, joined by `+`. Parts that live in the same
process (chDB, gRPC, Envoy's children) then don't meet across suites, and waiting overlaps.
Of those that start a whole mesh one runs at a time: a day that is replayed takes most of a core.
Exits with 1 if a suite failed; says at the end of each what it did, and what CPU it took (without
what outlives its parent: a mesh's parts). What each test took is in build/tests/*.xml.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


AT_ONCE = 3  # most of them wait more than they work: two leave half of two cores idle
WHOLE_MESH = "e2e/"
TESTS = Path(__file__).parent
REPORTS = TESTS.parent / "build" / "tests"
SUMMARY = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")

_printing = threading.Lock()


class Waiting:
    """The suites that haven't begun, in order."""

    def __init__(self, suites: Sequence[str]) -> None:
        self._suites = list(suites)
        self._whole = 0
        self._changed = threading.Condition()

    def take(self) -> str | None:
        """Return the first that may run beside those that do, once there is one; None at the end."""
        with self._changed:
            while self._suites:
                for suite in self._suites:
                    whole = suite.startswith(WHOLE_MESH)
                    if not (whole and self._whole):
                        self._suites.remove(suite)
                        self._whole += whole
                        return suite
                self._changed.wait()
            return None

    def done(self, suite: str) -> None:
        """Say that a suite has ended."""
        with self._changed:
            self._whole -= suite.startswith(WHOLE_MESH)
            self._changed.notify_all()


def main(argv: list[str]) -> int:
    """Run the suites named before `--`, with the options of pytest behind it."""
    split = argv.index("--") if "--" in argv else len(argv)
    suites, options = argv[:split], argv[split + 1 :]
    waiting = Waiting(suites)
    results: list[tuple[Counter[str], int]] = []

    def work() -> None:
        while (suite := waiting.take()) is not None:
            try:
                results.append(run(suite, options))
            finally:
                waiting.done(suite)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in [pool.submit(work) for _ in range(AT_ONCE)]:
            one.result()
    total: Counter[str] = Counter()
    for counts, _ in results:
        total += counts
    bad = sum(total[kind] for kind in ("failed", "error", "errors"))
    print(f"\n{total['passed']} passed, {bad} failed, {total['skipped']} skipped")
    return 0 if all(code == 0 for _, code in results) and total["passed"] else 1


def run(suite: str, options: list[str]) -> tuple[Counter[str], int]:
    """Run one suite; print what it said at once if it failed, else its last line."""
    began = time.monotonic()
    paths = [str(TESTS / path) for path in suite.split("+")]
    report = REPORTS / f"{suite.replace('/', '-')}.xml"
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "--quiet"),
            *("-o", "junit_family=xunit1", f"--junitxml={report}"),
            *paths,
            *options,
        ],
        cwd=TESTS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    # pytest's 5 is "no tests", as when -k selects none of this suite's.
    code = 0 if child.returncode == 5 and options else child.returncode
    last = said.strip().rpartition("\n")[2]
    with _printing:
        if code != 0:
            print(said)
        print(f"{time.monotonic() - began:6.0f} s, {cpu:4.0f} of CPU  {suite}: {last}", flush=True)
    return Counter({kind: int(number) for number, kind in SUMMARY.findall(last)}), code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
