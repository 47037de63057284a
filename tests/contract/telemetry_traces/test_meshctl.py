"""What an operator sees of it in a terminal."""

import asyncio
import json
import sys
from datetime import timedelta

import pytest
import pytest_asyncio
from opentelemetry.trace import SpanKind

from telemetry.app import serve
from telemetry.settings import Settings
from tests.contract.telemetry_traces.sending import services, until
from tests.fixtures.serving import running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def meshctl(socket, *words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meshctl", "--telemetry", str(socket), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(ca, tmp_path_factory):
    """The socket, and the id of a trace that is there."""
    folder = tmp_path_factory.mktemp("telemetry")
    socket = folder / "telemetry.sock"
    settings = Settings(
        state_dir=folder / "state", unix_socket=socket, segment_age=timedelta(milliseconds=50)
    )
    async with running(serve, settings, workload=ca.workload("telemetry")) as port:
        trace_id = await asyncio.to_thread(send, ca, port)
        await until(
            lambda: meshctl(socket, "traces", "--json"),
            lambda answer: (
                len(json.loads(answer[1])["traces"]) == 1
                and json.loads(answer[1])["traces"][0]["spans"] == "3"
            ),
        )
        yield socket, trace_id


def send(ca, port):
    with services(ca, port, "edge", "shop") as (edge, shop):
        root = edge.begin("GET /cart", 0, kind=SpanKind.SERVER)
        call = edge.begin("Cart/Get", 25, root, kind=SpanKind.CLIENT)
        shop.span("Cart/Get", 25, 50, call, kind=SpanKind.SERVER, error=True)
        edge.end(call, 75)
        edge.end(root, 100)
        return root.trace_id


async def test_a_trace_is_a_waterfall_with_its_critical_path(served):
    socket, trace_id = served
    code, out, _ = await meshctl(socket, "trace", trace_id)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith(f"trace {trace_id}, ")
    assert lines[0].endswith("took 100ms")
    assert lines[1].split() == ["SPAN", "TOOK", "SELF"]
    assert [line[:17].rstrip() for line in lines[2:5]] == [
        "edge GET /cart",
        "  edge Cart/Get",
        "    shop Cart/Get",
    ]
    assert [line[17:35].split() for line in lines[2:5]] == [
        ["100ms", "50ms"],
        ["50ms", "0ns"],
        ["50ms", "50ms"],
    ]
    assert [line[37:] for line in lines[2:5]] == [
        "█" * 20 + "░" * 40 + "█" * 20,
        " " * 20 + "░" * 40,
        " " * 20 + "█" * 40 + " error",
    ]
    assert lines[5:] == ["its end waited for:", "   50 %  edge GET /cart", "   50 %  shop Cart/Get"]


async def test_traces_are_a_table(served):
    socket, trace_id = served
    code, out, _ = await meshctl(socket, "traces", "{service=shop} | status=error")
    head, row = out.splitlines()
    assert code == 0
    assert head.split() == [
        "BEGAN", "TRACE", "ROOT", "TOOK", "SPANS", "ERRORS", "SERVICES", "FOUND", "LONGEST",
    ]  # fmt: skip
    assert row.split()[2:] == [
        trace_id,
        "edge",
        "GET",
        "/cart",
        "100ms",
        "3",
        "1",
        "2",
        "1",
        "50ms",
    ]
    code, out, _ = await meshctl(socket, "traces", "{service=nobody}")
    assert (code, out) == (0, "No trace was found.\n")


async def test_what_is_wrong_is_said(served):
    socket, _ = served
    code, _, err = await meshctl(socket, "traces", "{service=")
    assert code == 1
    assert "FILTER_INVALID" in err
    code, _, err = await meshctl(socket, "trace", "f" * 32)
    assert code == 1
    assert "Try: meshctl traces" in err
    code, _, err = await meshctl(socket, "traces", "--since", "soon")
    assert code == 2
