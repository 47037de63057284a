"""The verbs of `meshctl alerts`, as a person types them, against a telemetry that runs."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from meshctl.parts.watching import promise
from meshctl.telemetry import Telemetry
from tests.contract.telemetry_alerts.reaching import FILE, is_firing, ready


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.
ROOT = Path(__file__).parents[3]


@pytest.fixture
def meshctl(tmp_path):
    """`await meshctl("alerts", "list")`: its output; fails the test where it fails."""

    async def run(*words, code=0):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshctl", "--telemetry", str(tmp_path / "grpc.sock"), *words),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == code, out.decode()
        return out.decode()

    return run


async def test_rules_are_applied_an_alert_is_taken_on_and_silenced(running, dsn, meshctl, tmp_path):
    file = tmp_path / "queues.yaml"
    file.write_text(FILE)
    async with running(dsn, unix_socket=tmp_path / "grpc.sock") as service:
        await ready(service)
        assert "Nothing fires." in await meshctl("alerts", "list")
        said = await meshctl("alerts", "rules", "apply", "-f", str(file), "--dry-run")
        assert "created  queues-and-such" in said
        assert "Nothing was changed." in said
        await meshctl("alerts", "rules", "apply", "-f", str(file))
        await service.send("queue.length", 5.0, 50.0)
        alert = await service.until(is_firing)
        short = alert.name.removeprefix("alerts/")[:8]

        said = await meshctl("alerts", "list", "severity=page")
        assert short in said
        assert "firing" in said
        assert "Nothing fires." in await meshctl("alerts", "list", 'severity=~"no.*"')
        taken = json.loads(await meshctl("alerts", "ack", short, "--comment", "on it", "--json"))
        assert taken[0]["acknowledgement"]["comment"].startswith("on it (")
        assert "No alert begins" in await meshctl("alerts", "ack", "zzz", code=1)

        said = await meshctl("alerts", "silence", "--comment", "works", "alertname=QueueLong")
        assert said.strip() in await meshctl("alerts", "silences")
        assert "firing silenced" in await meshctl("alerts", "list")
        await meshctl("alerts", "expire", said.strip())
        assert "Nothing is silenced." in await meshctl("alerts", "silences")

        said = await meshctl("alerts", "rules", "list")
        assert "QueueLong" in said
        assert "queue:length:max" in said
        said = await meshctl(
            "alerts", "rules", "try", "queue_length == 50", "--last", "1m", "--every", "1s"
        )
        assert "It would have fired 1 times in 1m" in said
        bad = await meshctl("alerts", "rules", "try", "queue_length ==", code=1)
        assert "rules[0].expr" in bad
        await meshctl("alerts", "rules", "delete", "queues-and-such")
        assert "There are no rules." in await meshctl("alerts", "rules", "list")


async def test_who_is_told_is_shown_and_applied(running, dsn, meshctl, tmp_path):
    who = "tenants/aero/recipients/ops"
    file = tmp_path / "routing.json"
    file.write_text(
        json.dumps(
            {
                "policies": [{"id": "default", "steps": [{"targets": ["schedules/ops"]}]}],
                "schedules": [{"id": "ops", "participants": [who], "start_date": "2026-01-01"}],
            }
        )
    )
    async with running(dsn, unix_socket=tmp_path / "grpc.sock") as service:
        await ready(service)
        assert "Policies: default" in await meshctl("alerts", "routing", "apply", "-f", str(file))
        shown = json.loads(await meshctl("alerts", "routing", "show"))
        assert shown["policies"][0]["steps"] == [{"targets": ["schedules/ops"]}]
        assert (await meshctl("alerts", "oncall", "ops")).strip() == who
        assert "There is no schedule" in await meshctl("alerts", "oncall", "none", code=1)
        file.write_text('{"policies": [{"id": "default"}]}')
        bad = await meshctl("alerts", "routing", "apply", "-f", str(file), code=1)
        assert "routing.policies[0].steps" in bad


async def test_what_the_mesh_promises_is_made_once_and_people_have_the_last_word(
    running, dsn, meshctl, tmp_path
):
    promised = tmp_path / "promised"
    async with running(dsn, unix_socket=tmp_path / "grpc.sock") as service:
        await ready(service)
        async with Telemetry(tmp_path / "grpc.sock") as api:
            await promise(api, promised)
            assert "edge-availability" in await meshctl("objectives", "list")
            promised.unlink()  # As if the first start had ended in between.
            await promise(api, promised)
            await meshctl("objectives", "delete", "edge-availability")
            await promise(api, promised)

        assert "There are no objectives." in await meshctl("objectives", "list")
