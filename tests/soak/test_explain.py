"""Explain and a real Envoy, put the same requests by the hundred thousand."""

import os
import platform
import random
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fixtures.agreement import agreement
from tests.fixtures.requests import catalog, request


SLICE = bool(os.environ.get("MESH_SOAK_SLICE"))
REQUESTS = 400 if SLICE else int(os.environ.get("MESH_EXPLAIN_REQUESTS", "100000"))
AT_ONCE = 200 if SLICE else 1_000
"""Requests for one catalog."""

SEED = int(os.environ.get("MESH_SOAK_SEED", "7"))
SHOWN = 10
REPORT = Path(__file__).parent.parent.parent / "docs" / "soak-explain.md"

pytestmark = [pytest.mark.timeout(120 + REQUESTS // 20)]


def report(facts):
    lines = [
        "# Explain and Envoy",
        "",
        "The last long run of `tests/soak/test_explain.py`: catalogs and requests made at random, "
        "put to a real Envoy and to `Explain`.",
        "Compared are HTTP status, gRPC status, response code details, route and cluster.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in facts.items()),
    ]
    REPORT.write_text("\n".join(lines) + "\n")


def commit():
    run = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return os.environ.get("MESH_SOAK_COMMIT") or run.stdout.strip()


async def test_explain_predicts_what_envoy_does(postgres):
    chance = random.Random(SEED)
    disagreements = []
    async with agreement(postgres) as both:
        catalogs = 0
        while both.compared < REQUESTS:
            await both.apply(catalog(chance, both.outsiders))
            catalogs += 1
            requests = [request(chance, both.signer, both.outsiders) for _ in range(AT_ONCE)]
            disagreements += await both.compare(requests)
            if len(disagreements) > SHOWN:
                break
    if not SLICE:
        report(
            {
                "commit": commit(),
                "ended": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "requests": both.compared,
                "catalogs": catalogs,
                "seed": SEED,
                "disagreements": len(disagreements),
                "not modelled": both.uncertain,
                "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            }
        )

    assert disagreements == [], "\n\n".join(disagreements[:SHOWN])
