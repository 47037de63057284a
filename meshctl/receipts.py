"""How far a change has come at each proxy, as a person reads it. Pure."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from aerofusion.gateway.v1 import change_service_pb2 as rpc


COLOURS = {
    "waiting": "bright_black",
    "sent": "yellow",
    "warm": "cyan",
    "acknowledged": "green",
    "served": "bold green",
    "unaffected": "bright_black",
    "refused": "bold red",
}
"""Each step of a change at a proxy, and its colour."""

STATES = {
    rpc.Change.STATE_PREFLIGHT: "is looked at by the preflight",
    rpc.Change.STATE_CANARY: "is at the first edges",
    rpc.Change.STATE_ROLLING_OUT: "is on its way",
    rpc.Change.STATE_ACTIVE: "is active",
    rpc.Change.STATE_REJECTED: "is refused in part",
    rpc.Change.STATE_ROLLED_BACK: "was rolled back",
}
STEPS = ("send_time", "warm_time", "acknowledge_time", "serve_time")


def step(receipt: rpc.Receipt) -> str:
    """The last step that the change has taken at a proxy: a key of `COLOURS`."""
    if receipt.refusals:
        return "refused"
    if receipt.unaffected:
        return "unaffected"
    for name, field in (
        ("served", "serve_time"),
        ("acknowledged", "acknowledge_time"),
        ("warm", "warm_time"),
        ("sent", "send_time"),
    ):
        if receipt.HasField(field):  # type: ignore[arg-type]  # one of its fields
            return name
    return "waiting"


def since(start: Timestamp, end: Timestamp) -> str:
    """The time between two instants; clocks of two machines may differ, so never below 0."""
    took_ms = max((end.ToNanoseconds() - start.ToNanoseconds()) / 1e6, 0)
    if took_ms < 1000:
        return f"{took_ms:.0f} ms"
    return f"{took_ms / 1000:.1f} s" if took_ms < 60_000 else f"{took_ms / 60_000:.0f} min"


def row(change: rpc.Change, receipt: rpc.Receipt) -> tuple[str, ...]:
    """Proxy, step, and how long after the commit each step came."""
    times = [
        since(change.create_time, getattr(receipt, field))
        if receipt.HasField(field)  # type: ignore[arg-type]  # one of its fields
        else "-"
        for field in STEPS
    ]
    return (receipt.node, step(receipt), *times)


def table(change: rpc.Change) -> Table:
    """All receipts of *change*, in colours."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("proxy", "state", "sent", "warm", "acknowledged", "served"):
        made.add_column(name, justify="left" if name in ("proxy", "state") else "right")
    for receipt in change.receipts:
        node, state, *times = row(change, receipt)
        made.add_row(node, Text(state, style=COLOURS[state]), *times)
    return made


def news(before: rpc.Change, change: rpc.Change) -> list[str]:
    """What is new at each proxy, one line each."""
    known = {one.node: step(one) for one in before.receipts}
    found = []
    for receipt in change.receipts:
        node, state, *times = row(change, receipt)
        if known.get(node) == state or state == "waiting":
            continue
        told = [time for time in times if time != "-"]
        found.append(f"{node}: {state}" + (f" after {told[-1]}" if told else ""))
    if change.reason and change.reason != before.reason:
        found.append(f"{STATES.get(change.state, '')}: {change.reason}")
    return found


def summary(change: rpc.Change) -> str:
    """How it stands, in a sentence."""
    done = [one for one in change.receipts if one.HasField("acknowledge_time")]
    told = f"{change.name} {STATES.get(change.state, 'was never sent')}"
    if change.reason:
        told += f" ({change.reason})"
    if not change.receipts:
        return f"{told}; no proxy is connected here, and those that come get it."
    slowest = max(done, key=lambda one: one.acknowledge_time.ToNanoseconds(), default=None)
    took = f" after {since(change.create_time, slowest.acknowledge_time)}" if slowest else ""
    return f"{told}: {len(done)} of {len(change.receipts)} proxies have it{took}."


def refusals(change: rpc.Change) -> list[tuple[str, rpc.Refusal]]:
    """Every refusal with the proxy that refuses."""
    return [(one.node, refusal) for one in change.receipts for refusal in one.refusals]
