"""
Plays the scripts in `sessions/`: lines that begin with `>` are done, what follows them is what
devices and server then said or showed. `--rewrite` writes down what happens now.

    > a sets UA1 gate=A1        a change on device a; also `a removes UA1`
    > a connects                also `a loses its stream`, `a restarts`, `a clock +5000`
    > server hears a            the next frame on its way from a
    > settle                    everything on its way arrives
    > a shows                   also `server shows`, `journal`
"""

from pathlib import Path

import pytest

from syncd import values
from tests.scenarios.syncd.simulator import Device, Server, check, settle


SCRIPTS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))


class Play:
    def __init__(self):
        self.server = Server()
        self.devices: dict[str, Device] = {}
        self.trace: list[str] = []

    def device(self, name: str) -> Device:
        if name not in self.devices:
            self.devices[name] = Device(self.server, name)
            self.devices[name].trace = self.trace
        return self.devices[name]

    def do(self, line: str) -> list[str]:
        """Do one line; return what was said and shown."""
        self.trace.clear()
        match line.split():
            case ["settle"]:
                settle(self.server, [d for d in self.devices.values() if d.stream is not None])
            case ["server", "shows"]:
                self.show(self.server.view())
            case ["journal"]:
                self.trace += [
                    f"{x.record} field {x.field} of {x.device}:"
                    f" {values.as_string(x.value)} lost as {x.reason.name} to seq {x.winner_seq}"
                    for x in self.server.losers
                ]
            case [name, "shows"]:
                self.show(self.device(name).view())
            case [name, "sets", record, *fields]:
                self.device(name).set(record, **dict(each.split("=") for each in fields))
            case [name, "removes", record]:
                self.device(name).delete(record)
            case ["server", "hears", name]:
                assert self.device(name).step_up()
            case [name, "connects"]:
                self.device(name).connect()
            case [name, "loses", "its", "stream"]:
                self.device(name).cut()
            case [name, "restarts"]:
                self.device(name).restart()
            case [name, "clock", milliseconds]:
                self.device(name).clock_error_ms = int(milliseconds)
            case _:
                raise AssertionError(f"no such line: {line}")
        return list(self.trace)

    def show(self, view):
        for record, fields in sorted(view.items()):
            told = " ".join(f"{name}={value}" for name, value in sorted(fields.items()))
            self.trace.append(f"{record} {told}")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_script_goes_as_written(path, rewrite):
    play = Play()
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line:
            lines.append(line)
        elif line.startswith("> "):
            lines += [line, *(f"  {told}" for told in play.do(line[2:]))]
    check(play.server, play.devices.values())
    for device in play.devices.values():
        device.store.close()
    text = "\n".join(lines) + "\n"
    if rewrite:
        path.write_text(text)
    assert path.read_text() == text


def test_there_are_scripts():
    assert len(SCRIPTS) >= 5
