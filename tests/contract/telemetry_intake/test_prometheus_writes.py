"""Debian's Prometheus as a client: it scrapes this process and writes to the service, over TLS."""

import asyncio
import json
import subprocess

import pytest
from aiohttp import web

from bench.peers import UNPACKED
from meshkit.identity import IdentityFolder
from telemetry.app import serve
from telemetry.settings import Settings
from telemetry.store.sessions import Sessions
from tests.contract.telemetry_intake.running import samples_of
from tests.fixtures.edge import free_port


@pytest.fixture
async def endpoint():
    views = iter(range(1, 1_000))

    async def metrics(_):
        return web.Response(
            text=f'# TYPE views_total counter\nviews_total{{gate="A1"}} {next(views)}\n'
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.timeout(120)
async def test_what_prometheus_scrapes_and_writes_is_here(tmp_path, ca, run_serve, endpoint):
    port = free_port()
    settings = Settings(state_dir=tmp_path / "state", http_listen=f"127.0.0.1:{port}")
    identity = tmp_path / "identity"
    IdentityFolder(identity).write(ca.material("operator"))
    material = ca.material("operator")
    files = {"key": material.key_pem, "chain": material.chain_pem, "bundle": ca.bundle_pem}
    for name, pem in files.items():
        (tmp_path / f"{name}.pem").write_bytes(pem)
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "board", "static_configs": [{"targets": [endpoint]}]}],
        "remote_write": [
            {
                "url": f"https://127.0.0.1:{port}/api/v1/write",
                "tls_config": {
                    "ca_file": str(tmp_path / "bundle.pem"),
                    "cert_file": str(tmp_path / "chain.pem"),
                    "key_file": str(tmp_path / "key.pem"),
                    "server_name": "telemetry.aerofusion",
                },
                "queue_config": {"batch_send_deadline": "200ms"},
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    program = UNPACKED / "prometheus" / "usr" / "bin" / "prometheus"
    async with run_serve(serve, settings, workload=ca.workload("telemetry")):
        with (
            (tmp_path / "prometheus.log").open("wb") as log,
            subprocess.Popen(  # noqa: ASYNC220 - starts at once
                [
                    str(program) if program.exists() else "prometheus",
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{free_port()}",
                ],
                stdout=log,
                stderr=log,
            ) as prometheus,
        ):
            try:
                segments = settings.state_dir / "log" / "remote_write"
                async with asyncio.timeout(60):
                    while not list(segments.glob("*.pb")):
                        assert prometheus.poll() is None, (tmp_path / "prometheus.log").read_text()
                        await asyncio.sleep(0.05)  # polls
            finally:
                # It sends what it has, for up to a minute: to who waits for it in this loop.
                prometheus.terminate()
                await asyncio.to_thread(prometheus.wait)

    async with Sessions.open(settings.state_dir / "store") as sessions:
        found = await samples_of(sessions, "views_total")
        up = await samples_of(sessions, "up")
    ((labels, values),) = found.items()
    assert dict(labels) == {
        "__name__": "views_total",
        "gate": "A1",
        "job": "board",
        "instance": endpoint,
    }
    counted = [value for value in values if value == value]  # noqa: PLR0124 - without NaN
    assert counted == sorted(set(counted))
    assert len(counted) > 0
    assert 1.0 in next(iter(up.values()))
