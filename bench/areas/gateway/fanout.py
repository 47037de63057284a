"""One change to 500 delta clients, which run in a process of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from bench.areas.gateway.changes import update
from bench.control_plane import ControlPlane, until
from bench.report import percentile
from gateway.compile.envoy_api import make, message_class
from gateway.xds.resources import BY_KEY, BY_TYPE_URL
from meshkit.identity import Workload
from meshkit.settings import MeshSettings


if TYPE_CHECKING:
    from bench.report import Report

SERVICES = 2_000
STREAMS = 500
CHANGES = 30
WARM = 3
PAUSE_S = 2.0
SETTLE_S = 3.0
KINDS = ("CDS", "EDS", "LDS", "SRDS", "RDS", "ECDS")
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

_REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_RESPONSE = "envoy.service.discovery.v3.DeltaDiscoveryResponse"


def measure(report: Report) -> None:
    """Take the figures; about two minutes."""
    with ControlPlane(preflight=False, ads_streams_max=STREAMS + 10) as plane:
        plane.load(SERVICES)
        before = plane.memory("gateway")
        settings = plane.client_settings("edge")
        ready, times = plane.folder / "ready", plane.folder / "times"
        words = [sys.executable, "-m", "bench.areas.gateway.fanout", "--streams", STREAMS]
        words += ["--gateway", settings.gateway_address, "--identity", settings.identity_dir]
        words += ["--join", settings.join_file, "--ready", ready, "--times", times]
        plane.start("clients", words)
        until(lambda: ready.exists() or _ended(plane), "the clients", within_s=300)
        time.sleep(SETTLE_S)  # paces
        opening = ready.read_text().split()
        report.add("fanout_reconnect_500_streams_s", float(opening[0]))
        report.add("reconnect_resent_resources", int(opening[1]), bound="<= 0")
        report.add("cp_bytes_per_stream", (plane.memory("gateway") - before) / STREAMS)
        began = []
        for change in range(CHANGES + WARM):
            began.append(time.monotonic())
            plane.catalog.UpdateRoute(update(change, 0, closed=True))
            time.sleep(PAUSE_S)  # paces
        plane.stop("clients")
        taken = _taken(times, began)
        report.add("fanout_500_streams_p50_ms", percentile(taken, 0.5))
        report.add(
            "fanout_500_streams_p99_ms", percentile(taken, 0.99), bound="<= 300", samples=taken
        )


def _ended(plane: ControlPlane) -> bool:
    if plane.processes["clients"].poll() is not None:
        raise RuntimeError((plane.folder / "clients.log").read_text()[-3000:])
    return False


def _taken(times: Path, began: list[float]) -> list[float]:
    """Return the milliseconds from each change to each client."""
    arrivals = sorted(float(line) for line in times.read_text().split())
    taken = []
    for start in began[WARM:]:
        found = [one for one in arrivals if start <= one < start + PAUSE_S]
        if len(found) != STREAMS:
            raise RuntimeError(f"{len(found)} of {STREAMS} clients were told")
        taken += [(one - start) * 1000 for one in found]
    return taken


class Client:
    """A delta client that takes everything and says so."""

    def __init__(self, channel: grpc.aio.Channel, number: int) -> None:
        self.held: dict[str, dict[str, str]] = {key: {} for key in KINDS}
        self.names: dict[str, set[str]] = {key: set() for key in KINDS}
        self.received = 0
        self.arrivals: list[float] = []
        self._number = number
        self._read = message_class(_RESPONSE).FromString
        self._call: Any = channel.stream_stream(METHOD)()

    async def open(self, like: Client | None = None) -> None:
        """Subscribe; with *like*, as one who comes back and holds what that one does."""
        for key in KINDS:
            if like is not None:
                self.names[key] = like.names[key]
            if BY_KEY[key].wildcard or self.names[key]:
                await self._ask(key, like.held[key] if like is not None else {})

    async def _ask(self, key: str, held: dict[str, str], **fields: Any) -> None:
        node = {"id": f"edge-{self._number}", "cluster": "edge", "user_agent_name": "envoy"}
        message = make(
            _REQUEST,
            type_url=BY_KEY[key].type_url,
            resource_names_subscribe=sorted(self.names[key]),
            initial_resource_versions=held,
            node=node,
            **fields,
        )
        await self._call.write(message.SerializeToString())

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            data = await self._call.read()
            if data is grpc.aio.EOF:
                raise RuntimeError(f"the gateway hung up: {await self._call.details()}")
            self.arrivals.append(time.monotonic())
            message = self._read(data)
            kind = BY_TYPE_URL[message.type_url]
            self.received += len(message.resources)
            self.held[kind.key] |= {one.name: one.version for one in message.resources}
            acknowledged = make(_REQUEST, type_url=kind.type_url, response_nonce=message.nonce)
            await self._call.write(acknowledged.SerializeToString())
            await self._follow(kind.key, [one.name for one in message.resources])

    async def _follow(self, key: str, names: list[str]) -> None:
        """Ask for what these point at, as Envoy does."""
        wanted = {"CDS": "EDS", "SRDS": "RDS"}.get(key)
        new = set(names) - self.names[wanted] if wanted else set()
        if wanted and new:
            self.names[wanted] = self.names[wanted] | new
            message = make(
                _REQUEST,
                type_url=BY_KEY[wanted].type_url,
                resource_names_subscribe=sorted(new),
            )
            await self._call.write(message.SerializeToString())


async def serve(given: argparse.Namespace) -> None:
    """Open one stream, take everything, open the others as if they had it, and note arrivals."""
    settings = MeshSettings(
        gateway_address=given.gateway,
        identity_dir=given.identity,
        join_file=given.join,
        replica="bench",
    )
    workload = await Workload.open(settings, "edge")
    clients: list[Client] = []
    async with asyncio.TaskGroup() as tasks:
        first = Client(_channel(workload, given.gateway), -1)
        await first.open()
        reading = tasks.create_task(first.run())
        seen = -1
        while first.received != seen:
            seen = first.received
            await asyncio.sleep(1.5)  # polls
        reading.cancel()
        began = time.monotonic()
        for number in range(given.streams):
            client = Client(_channel(workload, given.gateway), number)
            await client.open(first)
            clients.append(client)
            tasks.create_task(client.run())
        taken = time.monotonic() - began
        await asyncio.sleep(SETTLE_S)  # paces
        resent = sum(client.received for client in clients)
        gc.freeze()  # One process stands for 500: a walk through all they hold is no client's.
        given.ready.write_text(f"{taken:.3f} {resent}\n")
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(15, stop.set)
        await stop.wait()
        arrivals = [one for client in clients for one in client.arrivals]
        given.times.write_text("\n".join(map(str, arrivals)))
        raise asyncio.CancelledError


def _channel(workload: Workload, address: str) -> grpc.aio.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)]
    return workload.channel(address, "gateway", options=options)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--gateway", required=True)
    for name in ("--identity", "--join", "--ready", "--times"):
        parser.add_argument(name, type=Path, required=True)
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
