"""
Runs every `telling/*.scenario`: commands above `----`, what is told below.

    policy wait=30s repeat=4h steps=0s,5m,15m
    at 10s a b+ack c+flapping d+held    the alerts that fire now; `a@5s` began to fire then
"""

import re
from pathlib import Path

import pytest

from telemetry.alerts.routing import Policy, Step
from telemetry.alerts.telling import GroupState, Seen, tell
from telemetry.rules.model import duration_text, parse_duration


SCENARIOS = sorted((Path(__file__).parent / "telling").glob("*.scenario"))


class Interpreter:
    def __init__(self):
        self.state = GroupState()
        self.policy = Policy(id="default", steps=(Step(after_ms=0, targets=("r",)),))

    def run(self, line):
        command, *arguments = line.split()
        return getattr(self, command)(*arguments)

    def policy_(self, *arguments):
        given = dict(one.split("=") for one in arguments)
        steps = [parse_duration(one) for one in given["steps"].split(",")]
        self.policy = Policy(
            id="default",
            followers_wait_ms=parse_duration(given["wait"]),
            repeat_ms=parse_duration(given["repeat"]),
            steps=tuple(Step(after_ms=ms, targets=("r",)) for ms in steps),
        )
        return []

    def at(self, when, *given):
        seen = []
        for one in given:
            name, *marks = one.split("+")
            name, _, fired = name.partition("@")
            seen.append(
                Seen(
                    id=name,
                    fired_ms=parse_duration(fired or "1s"),
                    acknowledged="ack" in marks,
                    flapping="flapping" in marks,
                    held="held" in marks,
                )
            )
        self.state, out = tell(self.policy, self.state, seen, parse_duration(when))
        return [
            f"{when}: {one.why} to steps {','.join(map(str, one.steps))}"
            f" firing [{' '.join(one.firing)}] resolved [{' '.join(one.resolved)}]"
            for one in out
        ] or [f"{when}: nothing"]

    def show(self):
        state = self.state
        since = duration_text(state.unacknowledged_ms) if state.unacknowledged_ms else "-"
        return [f"told [{' '.join(state.told)}] steps={state.steps_told} open since {since}"]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path, rewrite):
    interpreter = Interpreter()
    blocks = []
    for block in re.split(r"\n\n+", path.read_text().strip()):
        if "----" not in block:
            blocks.append(block)
            continue
        given, _ = block.split("----", 1)
        said = []
        for line in given.splitlines():
            if line and not line.startswith("#"):
                said += interpreter.run(line.replace("policy ", "policy_ ", 1))
        blocks.append("\n".join([f"{given}----", *said, *interpreter.show()]))
    actual = "\n\n".join(blocks) + "\n"
    if rewrite:
        path.write_text(actual)
    assert path.read_text() == actual
