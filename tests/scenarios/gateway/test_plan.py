"""
Streams by example: what a client says and hears, in files that read like a conversation.

    snapshot CDS a=1 b=2 ; RDS r=1      the newest snapshot, whole; a=1/6: with 6 s to live,
                                        a=denied, a=withheld: not there, and why
    request CDS +a -b nonce=1 error="no" held=a:1 wait=11
    doubt CDS a                         what the client may hold from an earlier stream
    time 11                             seconds that pass
    ----
    what is sent (~a: a heartbeat, !a: a problem), and who is blamed

A file named `sotw_...` is about the state-of-the-world variant; there `request` lists all names.
"""

import re
import shlex
from pathlib import Path

import pytest

from gateway.xds.delta import DeltaSubscription
from gateway.xds.plan import Plan
from gateway.xds.resources import BY_KEY, Absence, Resource, Resources, Snapshot
from gateway.xds.sotw import SotwSubscription
from gateway.xds.subscription import Request


SCENARIOS = sorted((Path(__file__).parent / "plan").glob("*.scenario"))
BARRIER_TIMEOUT_S = 10


class Interpreter:
    def __init__(self, *, sotw):
        self.plan = Plan(
            SotwSubscription if sotw else DeltaSubscription, barrier_timeout=BARRIER_TIMEOUT_S
        )
        self.now = 0.0
        self.revision = 0

    def run(self, line):
        command, *words = shlex.split(line)
        said = getattr(self, command)(words)
        lines = [*said, *(shown(push) for push in self.plan.step(self.now))]
        return "\n".join(lines) or "nothing"

    def snapshot(self, words):
        resources, absences, kind = {}, {}, ""
        for word in [word for word in words if word != ";"]:
            if word in BY_KEY:
                kind = word
                resources[kind] = {}
            else:
                name, version = word.split("=")
                if version.upper() in Absence.__members__:
                    absences.setdefault(kind, {})[name] = Absence[version.upper()]
                    continue
                version, _, ttl = version.partition("/")
                resources[kind][name] = Resource(name, version, b"x", float(ttl or 0))
        self.revision += 1
        frozen = {key: Resources(value) for key, value in resources.items()}
        self.plan.on_snapshot(Snapshot(revision=self.revision, resources=frozen, absences=absences))
        return []

    def doubt(self, words):
        kind, *names = words
        self.plan.doubt(kind, names)
        return []

    def request(self, words):
        kind, *words = words
        given = dict(word.split("=", 1) for word in words if re.match(r"(nonce|error|held)=", word))
        names = [word for word in words if word.split("=")[0] not in ("nonce", "error", "held")]
        refusals = self.plan.on_request(
            BY_KEY[kind],
            Request(
                names=tuple(name.lstrip("+") for name in names if not name.startswith("-")),
                unsubscribe=tuple(name[1:] for name in names if name.startswith("-")),
                nonce=given.get("nonce", ""),
                error=given.get("error", ""),
                held=dict(one.split(":") for one in given.get("held", "").split(",") if one),
            ),
            self.now,
        )
        return [f"refused {one.resource.name}={one.resource.version}" for one in refusals]

    def time(self, words):
        self.now += float(words[0])
        return []

    def acked(self, words):
        return [f"revision {self.plan.acked_revision}"]


def shown(push):
    parts = [f"{push.kind.key} #{push.nonce}", *(f"{r.name}={r.version}" for r in push.upserts)]
    parts += [f"~{item.name}={item.version}" for item in push.beats]
    parts += [f"-{name}" for name in push.removals]
    return " ".join([*parts, *(f"!{name}:{why.name.lower()}" for name, why in push.problems)])


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path, rewrite):
    interpreter = Interpreter(sotw=path.stem.startswith("sotw"))
    blocks = []
    for block in re.split(r"\n\n+", path.read_text().strip()):
        if "----" not in block:
            blocks.append(block)
            continue
        given, _ = block.split("----", 1)
        (command,) = (line for line in given.strip().splitlines() if not line.startswith("#"))
        blocks.append(f"{given}----\n{interpreter.run(command)}")
    actual = "\n\n".join(blocks) + "\n"
    if rewrite:
        path.write_text(actual)
    assert path.read_text() == actual
