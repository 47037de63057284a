"""
`python -m bench.areas.telemetry.sender SOCKET ...`: send metrics over gRPC, print what it came to.

A process of its own, so that its CPU time is not the service's. It has encoded its requests
before it starts, by OpenTelemetry's SDK; while sending it only puts the times in.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time

import grpc

from bench.areas.telemetry.points import requests


METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_IN_FLIGHT = 6


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=4_000, help="of a request")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=0, help="send each request that often")
    parser.add_argument("--rate", type=float, default=0, help="points a second; 0: all it takes")
    parser.add_argument("--metrics", type=int, default=1)
    parser.add_argument(
        "--every", type=float, default=0, help="seconds between rounds, in the data"
    )
    parser.add_argument("--back", type=int, default=0, help="rounds that are to come after these")
    parser.add_argument("--new", type=int, default=0, help="1: series that nobody knows, always")
    parser.add_argument("--tenant", default="")
    given = parser.parse_args()
    made = requests(given.series, given.points, metrics=given.metrics, sessions=bool(given.new))
    print("ready", flush=True)
    sys.stdin.readline()
    channel = grpc.insecure_channel(
        f"unix:{given.socket}", options=[("grpc.max_send_message_length", 64 << 20)]
    )
    export = channel.unary_unary(METHOD)
    metadata = [("x-scope-orgid", given.tenant)] if given.tenant else None
    open_loop = given.rate and not given.every
    room = threading.Semaphore(10_000 if open_loop else _IN_FLIGHT)
    failed: list[str] = []
    refused: list[int] = []
    latencies: list[float] = []
    sent = 0

    def done(call: grpc.Future, due: float, points: int) -> None:
        latencies.append((time.perf_counter() - due) * 1000)
        if call.exception() is not None or call.result():
            failed.append(str(call.exception() or call.result()))
            refused.append(points)
        room.release()

    began, first = time.perf_counter(), time.time()
    number = 0
    least = given.rounds * len(made)
    while number < least or (not least and time.perf_counter() - began < given.seconds):
        request = made[number % len(made)]
        due = time.perf_counter()
        if given.rate:
            due = began + number * given.points / given.rate
            time.sleep(max(0.0, due - time.perf_counter()))
        room.acquire()
        rounds_left = given.rounds - 1 - number // len(made) + given.back
        at_ns = time.time_ns() - int(rounds_left * given.every * 1e9)
        content = request.at(at_ns, number * given.points)
        call = export.future(content, timeout=60, metadata=metadata)
        call.add_done_callback(lambda call, due=due, points=request.points: done(call, due, points))
        sent += request.points
        number += 1
    while len(latencies) < number:
        time.sleep(0.001)
    took = time.perf_counter() - began
    print(
        json.dumps(
            {
                "sent": sent,
                "seconds": took,
                "first": first,
                "last": time.time(),
                "failed": failed[:3],
                "refused": sum(refused),
                "latencies_ms": latencies,
                "cpu_s": time.process_time(),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
