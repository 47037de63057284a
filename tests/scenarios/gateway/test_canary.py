"""
Canaries by example: what edges and telemetry say, and what becomes of the change.

    edges a b                            who has it first; the clock stands at 0
    rules bake=60 errors=5 latency=3
    ack a
    refuse b "no such thing"
    told first=100/2/4 others=100/0/4 before=0/0/0 age=1     requests/errors/seconds
    away "UNAVAILABLE"                   telemetry is
    time 61                              seconds that pass
    ----
    what is decided then, and why
"""

import re
import shlex
from pathlib import Path

import pytest

from gateway.changes.canary import Canary, Evidence, Rules, Traffic


SCENARIOS = sorted((Path(__file__).parent / "canary").glob("*.scenario"))


def traffic(text):
    requests, errors, seconds = (float(part) for part in text.split("/"))
    return Traffic(requests=requests, errors=errors, seconds=seconds)


class Interpreter:
    def __init__(self):
        self.now = 0.0
        self.rules = Rules()
        self.canary = None

    def run(self, line):
        command, *words = shlex.split(line)
        getattr(self, command)(words)
        if self.canary is None:
            return "nothing"
        decision = self.canary.decide(self.now)
        return f"{decision.action.value} {decision.reason}".strip()

    def rules_of(self, words):
        given = dict(word.split("=") for word in words)
        self.rules = Rules(
            bake_s=float(given["bake"]),
            error_percent_max=float(given["errors"]),
            latency_factor_max=float(given["latency"]),
        )

    def edges(self, words):
        self.canary = Canary(self.rules, frozenset(words), self.now)

    def ack(self, words):
        for word in words:
            self.canary.acknowledged(word)

    def refuse(self, words):
        self.canary.refused(*words)

    def told(self, words):
        given = dict(word.split("=") for word in words)
        age = float(given.pop("age", "1"))
        self.canary.told(Evidence(**{k: traffic(v) for k, v in given.items()}, age_s=age))

    def away(self, words):
        self.canary.untold(f"telemetry is away: {words[0]}")

    def time(self, words):
        self.now += float(words[0])


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path, rewrite):
    interpreter = Interpreter()
    blocks = []
    for block in re.split(r"\n\n+", path.read_text().strip()):
        if "----" not in block:
            blocks.append(block)
            continue
        given, _ = block.split("----", 1)
        lines = [line for line in given.strip().splitlines() if not line.startswith("#")]
        (command,) = lines
        said = interpreter.run(command.replace("rules ", "rules_of ", 1))
        blocks.append(f"{given}----\n{said}")
    actual = "\n\n".join(blocks) + "\n"
    if rewrite:
        path.write_text(actual)
    assert path.read_text() == actual
