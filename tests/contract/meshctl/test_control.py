"""The supervisor's door, from both sides."""

import asyncio
import json
import stat

import pytest

from meshctl import control, exits
from meshctl.faults import MeshctlError


@pytest.fixture
def door(tmp_path):
    return tmp_path / "control.sock"


async def greet(request):
    return {"hello": request.get("name", "nobody")}


async def refuse(_request):
    raise MeshctlError("It is closed.", "tomorrow", exit_code=exits.CONFIG)


HANDLERS = {"greet": greet, "refuse": refuse}


async def test_a_call_is_answered_by_its_verb(door):
    async with control.served(door, HANDLERS):
        found = await control.call(door, "greet", 5, name="ada")
        mode = await asyncio.to_thread(lambda: stat.S_IMODE(door.stat().st_mode))

    assert found == {"hello": "ada"}
    assert mode == 0o600


async def test_a_refusal_arrives_as_the_error_it_was(door):
    async with control.served(door, HANDLERS):
        with pytest.raises(MeshctlError, match=r"It is closed\.") as raised:
            await control.call(door, "refuse", 5)

    assert raised.value.remedy == "tomorrow"
    assert raised.value.exit_code == exits.CONFIG


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b'{"verb": "dance"}\n', b"{}\n"])
async def test_what_is_no_request_is_answered_with_the_verbs_there_are(door, line):
    async with control.served(door, HANDLERS):
        reader, writer = await asyncio.open_unix_connection(door)
        writer.write(line)
        answer = json.loads(await reader.readline())
        writer.close()

    assert answer == {"ok": False, "problem": "This is no request.", "remedy": "greet, refuse"}


async def test_a_line_without_end_ends_the_connection_and_nothing_else(door):
    async with control.served(door, HANDLERS):
        reader, writer = await asyncio.open_unix_connection(door)
        writer.write(b"x" * (control.LINE_BYTES_MAX + 1) + b"\n")
        ended = await reader.read()
        writer.close()
        found = await control.call(door, "greet", 5)

    assert ended == b""
    assert found == {"hello": "nobody"}


async def test_nobody_behind_the_door_is_said_so(door):
    with pytest.raises(MeshctlError, match="No mesh runs there") as raised:
        await control.call(door, "greet", 5)

    assert raised.value.exit_code == exits.UNAVAILABLE


async def test_a_supervisor_that_hangs_is_not_waited_for_without_end(door):
    async def hang(_request):
        await asyncio.get_running_loop().create_future()
        return {}

    async with control.served(door, {"hang": hang}):
        with pytest.raises(MeshctlError, match=r"gave no answer within 0\.1 s"):
            await control.call(door, "hang", 0.1)
