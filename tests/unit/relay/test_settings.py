import asyncio
from pathlib import Path

import pytest

from gateway.relay.app import main, serve
from gateway.relay.settings import Settings
from meshkit.errors import FailedPrecondition
from meshkit.settings import InvalidSettings, load


def test_names_are_taken_apart():
    settings = Settings(gateway_address="127.0.0.1:1", public_names=" localhost, 127.0.0.1,,")

    assert settings.names == {"localhost", "127.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "RELAY_GATEWAY_ADDRESS"),
        ({"RELAY_GATEWAY_ADDRESS": "a:1", "RELAY_PUBLIC_NAMES": " ,"}, "RELAY_PUBLIC_NAMES"),
        ({"RELAY_GATEWAY_ADDRESS": "a:1", "RELAY_SOCKET": "/" + "x" * 120}, "RELAY_SOCKET"),
        ({"RELAY_GATEWAY_ADDRESS": "a:1", "RELAY_SHELF": "/x"}, "RELAY_SHELF"),
    ],
)
def test_settings_that_cannot_work_are_told_by_name(environ, problem):
    with pytest.raises(InvalidSettings, match=problem):
        load(Settings, prefix="RELAY", environ=environ)


def test_the_command_tells_bad_settings_by_its_exit_code(monkeypatch, capsys):
    monkeypatch.delenv("RELAY_GATEWAY_ADDRESS", raising=False)

    assert main(["check-config"]) == 78
    assert "RELAY_GATEWAY_ADDRESS" in capsys.readouterr().err


async def test_a_socket_in_a_folder_open_to_others_is_refused(ca, tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    settings = Settings(
        gateway_address="127.0.0.1:1",
        identity_dir=tmp_path / "identity",
        shelf_dir=tmp_path / "shelf",
        socket=Path(folder / "relay.sock"),
    )

    with pytest.raises(FailedPrecondition) as raised:
        await serve(settings, stop=asyncio.Event(), workload=ca.workload("edge"))

    assert raised.value.reason == "SOCKET_FOLDER_OPEN"
    assert not settings.socket.exists()
