"""A replica of the echo service as a process of its own, to be killed. Says its port when found."""

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

from meshkit.identity import Workload
from meshkit.registration import registered
from meshkit.settings import MeshSettings
from tests.fixtures.echo import EchoServer


GRACE = timedelta(seconds=30)
"""How long calls under way may take once it leaves."""


async def main(gateway, folder, join_file, replica, lease_s):
    settings = MeshSettings(
        gateway_address=gateway,
        identity_dir=Path(folder),
        join_file=Path(join_file),
        replica=replica,
    )
    workload = await Workload.open(settings, "echo")
    server = await EchoServer(f"echo-{replica}", workload).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    lease = timedelta(seconds=float(lease_s))
    if float(lease_s):
        async with registered(
            workload, gateway, "services/echo", port=server.port, lease=lease
        ) as registrar:
            await registrar.found.wait()
            print(server.port, flush=True)  # noqa: T201
            await stop.wait()
            await registrar.drain(GRACE)
            await server.stop(GRACE.total_seconds())
    else:
        print(server.port, flush=True)  # noqa: T201
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
