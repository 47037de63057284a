"""
Runs every `states/*.scenario`: commands above `----`, what became of the alerts below.

    rule for=1m keep_firing_for=30s no_data=resolve
    at 10s a=1 b=2.5      the condition holds for these labels
    at 10s                it holds for none
    at 10s no-data        and no selector found anything
    at 10s failed "why"
    restart 40s           a new process takes over at that time
"""

import re
import shlex
from pathlib import Path

import pytest

from telemetry.rules.model import NoData, duration_text, parse_duration
from telemetry.rules.states import Failed, Found, Holds, Phase, RuleState, Timing, restored, step


SCENARIOS = sorted((Path(__file__).parent / "states").glob("*.scenario"))


class Interpreter:
    def __init__(self):
        self.timing, self.state = Timing(), RuleState()

    def run(self, line):
        command, *arguments = shlex.split(line)
        return getattr(self, command)(*arguments)

    def rule(self, *arguments):
        given = dict(one.split("=") for one in arguments)
        self.timing = Timing(
            hold_ms=parse_duration(given.get("for", "0")),
            keep_firing_ms=parse_duration(given.get("keep_firing_for", "0")),
            no_data=NoData(given.get("no_data", "keep")),
        )
        return []

    def at(self, when, *given):
        at_ms = parse_duration(when)
        if given[:1] == ("failed",):
            outcome = Failed(error=given[1])
        else:
            pairs = [one.split("=") for one in given if one != "no-data"]
            outcome = Found(
                holding={((("n", name),)): Holds(value=float(value)) for name, value in pairs},
                has_data="no-data" not in given,
            )
        self.state, events = step(self.timing, self.state, at_ms, outcome)
        return [f"{event.what} {event.alert.labels[0][1]}" for event in events]

    def restart(self, when):
        self.state = restored(self.state, parse_duration(when))
        return []

    def show(self):
        state = self.state
        line = f"rule {state.health}"
        if state.error:
            line += f" since {duration_text(state.failing_ms)}: {state.error}"
        return [line, *(self.alert(one) for _, one in sorted(state.alerts.items()))]

    def alert(self, alert):
        line = f"  {alert.labels[0][1]} {alert.phase} {alert.value:g}"
        line += f" active={duration_text(alert.active_ms)}"
        if alert.phase is not Phase.PENDING:
            line += f" fired={duration_text(alert.fired_ms)}"
        if alert.ended_ms:
            line += f" ended={duration_text(alert.ended_ms)}"
        if alert.no_data_ms:
            line += f" no_data={duration_text(alert.no_data_ms)}"
        return line + (" flapping" if alert.flapping else "")


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
                said += interpreter.run(line)
        blocks.append("\n".join([f"{given}----", *said, *interpreter.show()]))
    actual = "\n\n".join(blocks) + "\n"
    if rewrite:
        path.write_text(actual)
    assert path.read_text() == actual
