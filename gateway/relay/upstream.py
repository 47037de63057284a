"""The gateway as the relay sees it: one channel for all streams, and whether it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry import metrics


if TYPE_CHECKING:
    from gateway.relay.limits import RelayLimits
    from meshkit.identity import Workload

ADS: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA: Final = "DeltaAggregatedResources"
SOTW: Final = "StreamAggregatedResources"
LOAD_REPORTING: Final = "envoy.service.load_stats.v3.LoadReportingService"
LOAD: Final = "StreamLoadStats"

_KEEPALIVE_MS: Final = 10_000
_KEEPALIVE_TIMEOUT_MS: Final = 5_000


class Upstream:
    """A channel to the gateway that carries bytes."""

    def __init__(self, workload: Workload, address: str, limits: RelayLimits) -> None:
        retry_ms = int(limits.reconnect_delay_max.total_seconds() * 1000)
        self._channel = workload.channel(
            address,
            "gateway",
            options=(
                ("grpc.max_receive_message_length", limits.message_bytes_max),
                ("grpc.max_send_message_length", limits.message_bytes_max),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", retry_ms),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ),
        )
        self.online = metrics.get_meter("gateway").create_up_down_counter(
            "relay.streams.online",
            unit="{stream}",
            description="Streams of Envoy's that are spliced to the gateway's",
        )
        self._delta: Any = self._channel.stream_stream(f"/{ADS}/{DELTA}")
        self._sotw: Any = self._channel.stream_stream(f"/{ADS}/{SOTW}")
        self._load: Any = self._channel.stream_stream(f"/{LOAD_REPORTING}/{LOAD}")

    def delta(self) -> Any:
        """Open a delta stream; both ways are bytes."""
        return self._delta()

    def sotw(self) -> Any:
        """Open a state-of-the-world stream; both ways are bytes."""
        return self._sotw()

    def load(self) -> Any:
        """Open a stream of load reports; both ways are bytes."""
        return self._load()

    async def connected(self) -> None:
        """Return once there is a connection, however long that takes."""
        await self._channel.channel_ready()

    async def decided(self, patience_s: float) -> bool:
        """Whether there is a connection, as soon as that is known; no later than *patience_s*."""
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    state = self._channel.get_state(try_to_connect=True)
                    if state is grpc.ChannelConnectivity.READY:
                        return True
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        return False
                    await self._channel.wait_for_state_change(state)
        except TimeoutError:
            return False

    async def close(self) -> None:
        """Close the channel, and with it all streams."""
        await self._channel.close()
