"""Where a benchmark's figures go: flat JSON, the raw samples beside it, a table for people."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


OUT = Path("build/bench")


@dataclass(slots=True)
class Report:
    """One area's figures. `bound` tells what was asked for, for the table only."""

    area: str
    started_at: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    figures: dict[str, float | int | str] = field(default_factory=dict)
    bounds: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Rooms that raised; their figures are missing or not to be trusted."""

    def add(
        self,
        key: str,
        value: float,
        *,
        bound: str = "",
        samples: list[float] | None = None,
    ) -> None:
        """Note a figure; *bound* such as `<= 10`, *samples* what it was computed from."""
        self.figures[key] = round(value, 3) if isinstance(value, float) else value
        if bound:
            self.bounds[key] = bound
        if samples is not None:
            self.samples[key] = samples

    def write(self) -> Path:
        """Write `build/bench/<area>.json` and `<area>.samples.json`; return the first."""
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / f"{self.area}.json"
        head = {"commit": commit(), "started_at": self.started_at, "machine": machine()}
        if self.failed:
            head["failed_rooms"] = " ".join(self.failed)
        path.write_text(json.dumps(head | self.figures, indent=2) + "\n")
        samples = {key: [round(v, 6) for v in values] for key, values in self.samples.items()}
        path.with_suffix(".samples.json").write_text(json.dumps(samples) + "\n")
        return path

    def show(self) -> None:
        """Print the figures beside what was asked for."""
        table = Table(title=f"{self.area}, commit {commit()}")
        table.add_column("figure")
        table.add_column("measured", justify="right")
        table.add_column("asked for", justify="right")
        for key, value in self.figures.items():
            table.add_row(
                key, f"{value:,}" if not isinstance(value, str) else value, self.bounds.get(key, "")
            )
        Console().print(table)


def percentile(samples: list[float], share: float) -> float:
    """Return the *share* quantile (0 to 1) of *samples*, by the nearest rank."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def commit() -> str:
    """Return the checkout's commit, marked if files differ from it."""
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"


def machine() -> str:
    """Return what this ran on, in a line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {model}, {memory:.0f} GiB, {platform.system()} {platform.release()}"
