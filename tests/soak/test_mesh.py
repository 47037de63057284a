"""The day under random faults for hours: nothing acknowledged is lost, and nothing grows."""

import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fixtures.producer import WAITING, Producer
from tests.fixtures.waiting import until


SLICE = bool(os.environ.get("MESH_SOAK_SLICE"))
SECONDS = 60 if SLICE else float(os.environ.get("MESH_SOAK_SECONDS", "14400"))
FAULT_EVERY_S = 15
BACK_WITHIN_S = 300
"""How soon is not what this asks: the machine may do other things meanwhile."""

PAUSE_S = 0.02 if SLICE else 0.1
"""Between two of the producer's calls: what hours come to must be read again at the end."""

PARTS = ("notifier", "syncd", "telemetry", "gateway", "relay", "envoy", "postgres", "nats")
GROWTH_MAX = 1.5
"""Memory at the end over memory after the first tenth."""
REPORT = Path(__file__).parent.parent.parent / "docs" / "soak.md"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(SECONDS * 1.5 + 600)]


def report(facts):
    lines = ["# Soak", "", "The last long run of `make soak`: the airport day, with a random part"]
    lines += [
        "killed with -9 a quarter of a minute after the one before was back.",
        "",
        "| figure | value |",
        "| --- | --- |",
    ]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    REPORT.write_text("\n".join(lines) + "\n")


def commit():
    run = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


async def test_hours_of_faults_lose_nothing_and_let_nothing_grow(own_mesh):
    mesh = await asyncio.to_thread(own_mesh)
    chance = random.Random(int(os.environ.get("MESH_SOAK_SEED", "7")))
    producer = await asyncio.to_thread(Producer, mesh, pause_s=PAUSE_S)
    producing = asyncio.create_task(producer.run())
    ends = time.monotonic() + SECONDS
    memory, away, faults = [], [], 0
    while time.monotonic() < ends:
        enough = len(producer.acknowledged) + 50
        await asyncio.to_thread(
            until,
            lambda n=enough: len(producer.acknowledged) >= n,
            "the load",
            within_s=BACK_WITHIN_S,
            why=lambda n=faults: f"after {n} faults; last told {producer.told}",
        )
        killed = time.monotonic()
        await asyncio.to_thread(mesh.kill, chance.choice(PARTS), within_s=BACK_WITHIN_S)
        away.append(time.monotonic() - killed)
        faults += 1
        memory.append((await asyncio.to_thread(mesh.status))["memory_bytes"])
        await asyncio.sleep(FAULT_EVERY_S)  # paces the faults
    producer.stop()
    await producing
    lost = await producer.lost()
    counts = (await asyncio.to_thread(mesh.status))["counts"]
    early = memory[len(memory) // 10]
    if not SLICE:
        report(
            {
                "commit": await asyncio.to_thread(commit),
                "ended": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "hours": round(SECONDS / 3600, 2),
                "faults": faults,
                "seconds until a part was back, median and longest": (
                    f"{statistics.median(away):.1f}, {max(away):.1f}"
                ),
                "acknowledged": len(producer.acknowledged),
                "lost": len(lost),
                "refused meanwhile": len(producer.refused),
                "memory MB, first and last": f"{early / 1e6:.0f}, {memory[-1] / 1e6:.0f}",
                "boards diverged": counts["devices"]["counts"].get("diverged", 0),
                "machine": f"{os.cpu_count()} cores, {platform.machine()}",
                "counts": f"`{json.dumps(counts['mailsink']['counts'])}`",
            }
        )

    assert lost == []
    assert set(producer.refused) <= WAITING
    assert counts["devices"]["counts"].get("diverged", 0) == 0
    assert memory[-1] <= early * GROWTH_MAX
