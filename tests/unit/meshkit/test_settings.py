from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import pytest

from meshkit.settings import InvalidSettings, MeshSettings, Range, load


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    queue_max: Annotated[int, Range(1, 100)] = 10
    enforce: bool = True
    region: str

    def __post_init__(self):
        if self.region == "atlantis":
            raise ValueError("region: must be above water")


def test_values_are_read_as_the_types_of_their_fields():
    settings = load(
        Settings,
        prefix="DEMO",
        environ={
            "DEMO_REGION": "nyc",
            "DEMO_QUEUE_MAX": "7",
            "DEMO_ENFORCE": "false",
            "DEMO_SHUTDOWN_GRACE": "1.5",
            "DEMO_UNIX_SOCKET": "/run/demo.sock",
            "OTHER_THING": "x",
        },
    )

    assert (settings.queue_max, settings.enforce) == (7, False)
    assert settings.shutdown_grace == timedelta(seconds=1.5)
    assert settings.unix_socket == Path("/run/demo.sock")


def test_every_problem_is_told_at_once():
    with pytest.raises(InvalidSettings) as raised:
        load(
            Settings,
            prefix="DEMO",
            environ={
                "DEMO_QUEUE_MAX": "101",
                "DEMO_ENFORCE": "perhaps",
                "DEMO_QEUE": "1",
                "DEMO_SHUTDOWN_GRACE": "soon",
            },
        )

    assert str(raised.value).splitlines() == [
        "DEMO_QEUE: no such setting",
        "DEMO_SHUTDOWN_GRACE: must be a number of seconds, not 'soon'",
        "DEMO_QUEUE_MAX: must be 1 to 100, not 101",
        "DEMO_ENFORCE: must be true or false, not 'perhaps'",
        "DEMO_REGION: must be set",
    ]


def test_what_only_the_whole_can_tell_is_told_too():
    with pytest.raises(InvalidSettings, match="DEMO_REGION: must be above water"):
        load(Settings, prefix="DEMO", environ={"DEMO_REGION": "atlantis"})


def test_a_password_in_the_database_address_is_not_shown():
    settings = Settings(region="nyc", postgres_dsn="postgresql://u:hunter2@/x")

    assert "hunter2" not in repr(settings)
