"""Discovery clients, changes, refusals and restarts at random, a million steps of them."""

import os
import platform
import random
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fixtures.xds_oracle import run


SLICE = bool(os.environ.get("MESH_SOAK_SLICE"))
STEPS = 1_000 if SLICE else int(os.environ.get("MESH_XDS_STEPS", "1000000"))
SEED = int(os.environ.get("MESH_SOAK_SEED", "7"))
SHARES = {
    "Envoys, with refusals": ({"clean": False}, 0.45),
    "Envoys, nothing refused": ({"clean": True}, 0.25),
    "gRPC clients, with refusals": ({"clean": False, "sotw": True}, 0.2),
    "gRPC clients, nothing refused": ({"clean": True, "sotw": True}, 0.1),
}
REPORT = Path(__file__).parent.parent.parent / "docs" / "soak-xds.md"

pytestmark = [pytest.mark.timeout(120 + STEPS // 20)]


def report(steps, taken_s):
    lines = [
        "# Discovery and its oracle",
        "",
        "The last long run of `tests/soak/test_xds_oracle.py`: what each client holds against what "
        "it must hold, at each step and at rest.",
        "",
        "| figure | value |",
        "| --- | --- |",
        f"| commit | {commit()} |",
        f"| ended | {datetime.now(UTC):%Y-%m-%d %H:%M} UTC |",
        *(f"| steps, {name} | {count} |" for name, count in steps.items()),
        f"| steps | {sum(steps.values())} |",
        f"| seed | {SEED} |",
        "| disagreements | 0 |",
        f"| took | {taken_s:.0f} s |",
        f"| machine | {os.cpu_count()} cores, {platform.machine()} |",
    ]
    REPORT.write_text("\n".join(lines) + "\n")


def commit():
    run_ = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return os.environ.get("MESH_SOAK_COMMIT") or run_.stdout.strip()


def test_each_client_holds_what_it_must():
    began = time.monotonic()
    steps = {}
    for name, (world, share) in SHARES.items():
        steps[name] = run(random.Random(SEED), steps=int(STEPS * share), **world)
    assert sum(steps.values()) >= STEPS * 0.99
    if not SLICE:
        report(steps, time.monotonic() - began)
