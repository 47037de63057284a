"""
How far a replay has come, on disk, so that a crash repeats at most what was under way.

A lane notes a batch before it sends it, with the clock it reckoned by. After a crash the batch is
made anew from that note: the same requests, which the services recognise.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from meshctl.demo.counts import read_json, replace_json
from meshctl.demo.replay import Clock, Position


RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is replayed. Another plan is another run."""

    date: str
    passengers: int
    loops: int
    """0 means without end."""

    nonce: str = ""
    """Changes when somebody asks for the same day from its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One replay of a plan. Its id goes into all ids that services remember."""

    id: str
    plan: Plan

    bases: Mapping[str, int] | None = None
    """Where each airport's board stood when the run began; None until it is prepared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a lane was about to send: everything in [*start*, *end*)."""

    start: Position
    end: Position
    clock: Clock
    simulated: datetime
    """The simulated instant of the writing."""


class Progress:
    """The files of one replay, in its state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def take_up(self, plan: Plan) -> Run:
        """Go on with the run of *plan* if that is the last one, else begin a new one."""
        found = read_json(self._folder / RUN_FILE)
        if not isinstance(found, dict) or found.get("plan") != asdict(plan):
            return self.begin(plan)
        return Run(id=found["run"], plan=plan, bases=found["bases"])

    def begin(self, plan: Plan) -> Run:
        """Begin a new run of *plan*, which forgets the last one."""
        for old in self._folder.glob("lane-*.json"):
            old.unlink()
        run = Run(id=secrets.token_hex(4), plan=plan)
        self.write(run)
        return run

    def write(self, run: Run) -> None:
        """Remember *run* as the last one."""
        replace_json(
            self._folder / RUN_FILE,
            {
                "run": run.id,
                "plan": asdict(run.plan),
                "bases": dict(run.bases) if run.bases is not None else None,
            },
        )

    def note(self, lane: str, run: Run, note: Note) -> None:
        """Write down what *lane* is about to send."""
        replace_json(
            self._folder / f"lane-{lane}.json",
            {
                "run": run.id,
                "start": [note.start.window, note.start.index],
                "end": [note.end.window, note.end.index],
                "clock": {
                    "simulated": note.clock.simulated.isoformat(),
                    "real": note.clock.real.isoformat(),
                    "speed": note.clock.speed,
                },
                "simulated": note.simulated.isoformat(),
            },
        )

    def noted(self, lane: str, run: Run) -> Note | None:
        """What *lane* was about to send when it last wrote, or None if it never did."""
        found = read_json(self._folder / f"lane-{lane}.json")
        if not isinstance(found, dict) or found["run"] != run.id:
            return None
        return Note(
            start=Position(window=found["start"][0], index=found["start"][1]),
            end=Position(window=found["end"][0], index=found["end"][1]),
            clock=Clock(
                simulated=datetime.fromisoformat(found["clock"]["simulated"]),
                real=datetime.fromisoformat(found["clock"]["real"]),
                speed=found["clock"]["speed"],
            ),
            simulated=datetime.fromisoformat(found["simulated"]),
        )
