"""gRPC's own xDS client, configured by the gateway without a proxy between."""

import asyncio
import json
import os
import sys

import pytest

from tests.fixtures.edge import ROOT, edge


@pytest.fixture
async def mesh(postgres):
    async with edge(postgres) as made:
        yield made


def bootstrap(mesh, workload):
    folder = mesh.folder / "client"
    folder.mkdir(mode=0o700)
    material = workload.material
    files = {"key": material.key_pem, "chain": material.chain_pem, "roots": material.bundle_pem}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    watcher = {
        "certificate_file": str(folder / "chain"),
        "private_key_file": str(folder / "key"),
        "ca_certificate_file": str(folder / "roots"),
        "refresh_interval": "600s",
    }
    return {
        "xds_servers": [
            {
                "server_uri": f"unix:{mesh.gateway_socket}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "flightinfo-0"},
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": watcher}},
    }


async def call(mesh, config, target, calls):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fixtures.proxyless",
        target,
        str(calls),
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(config),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return json.loads(out)


async def test_a_client_balances_over_the_replicas_it_is_told_of(mesh):
    await mesh.put_service("echo", await mesh.echo("0"), await mesh.echo("1"))
    config = bootstrap(mesh, await mesh.workload("flightinfo"))
    found = await call(mesh, config, "xds:///echo", 20)
    assert sorted(set(found["backends"])) == ["echo-0", "echo-1"]


async def test_a_client_refuses_a_replica_of_another_service(mesh):
    impostor = await mesh.echo("0", service="mailsink")
    await mesh.put_service("echo", impostor)
    config = bootstrap(mesh, await mesh.workload("flightinfo"))
    found = await call(mesh, config, "xds:///echo", 1)
    assert found["code"] == "UNAVAILABLE"
    assert impostor.calls == 0
