"""
Everything the demo's three processes can be told, read once at start.

`flightinfo` reads `FLIGHTINFO_<FIELD>`, `devices` reads `DEVICES_<FIELD>`, `mailsink` reads
`MAILSINK_<FIELD>`. Each keeps its state, and its `counts.json`, in its own `state_dir`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from meshctl.demo.day import DEFAULT_DATE
from meshctl.demo.passengers import DEFAULT_PASSENGERS, PASSENGERS_MAX
from meshctl.demo.replay import DEFAULT_SPEED
from meshkit.settings import MeshSettings, Range


DEFAULT_TENANT = "nyc"
DEFAULT_DEVICES = 20
DEVICES_MAX = 1000
SPEED_MIN = 0.1
SPEED_MAX = 100_000.0


@dataclass(frozen=True, kw_only=True)
class DemoSettings(MeshSettings):
    """What all parts of the demo can be told."""

    state_dir: Path = Path("demo")
    """Folder of what must survive a restart, and of `counts.json`. Made if missing."""


@dataclass(frozen=True, kw_only=True)
class EdgeSettings(DemoSettings):
    """What those that call through the edge can be told besides."""

    edge_address: str = ""
    """The edge's public listener, `host:port`. Required."""

    edge_ca_file: Path = Path("edge-ca.pem")
    """Roots to trust at the edge, PEM. Read when a connection is made."""

    tenant: str = DEFAULT_TENANT
    """The tenant the day belongs to."""

    date: str = DEFAULT_DATE.isoformat()
    """The day to replay, `YYYY-MM-DD`, of 2013."""

    passengers: Annotated[int, Range(1, PASSENGERS_MAX)] = DEFAULT_PASSENGERS
    """How many synthetic passengers there are."""

    steering_file: Path | None = None
    """JSON written by `meshctl demo`; while it exists it overrides what it names, at run time."""

    call_timeout: Annotated[timedelta, Range(0.1, 60)] = timedelta(seconds=10)
    """Longest one attempt of one call may take."""

    def __post_init__(self) -> None:
        problems = []
        if not self.edge_address:
            problems.append("edge_address: must be set")
        try:
            date.fromisoformat(self.date)
        except ValueError:
            problems.append(f"date: must be YYYY-MM-DD, not {self.date!r}")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class FlightinfoSettings(EdgeSettings):
    """
    What `flightinfo` can be told.

    It has an identity of its own (`spiffe://aerofusion/flightinfo/<replica>`) for its telemetry,
    and calls the edge with the token of `services/flightinfo`, role `service`.
    """

    token_file: Path = Path("token")
    """Its token for the edge, as plain text. Read again whenever the file changes."""

    speed: Annotated[float, Range(SPEED_MIN, SPEED_MAX)] = DEFAULT_SPEED
    """Simulated seconds a second; 144 is a day in ten minutes."""

    loops: Annotated[int, Range(0, 1_000_000)] = 0
    """How often to replay the day; 0 means without end."""

    tick: Annotated[timedelta, Range(0.01, 10)] = timedelta(milliseconds=250)
    """What happens within one tick is sent together."""

    batch_max: Annotated[int, Range(1, 500)] = 250
    """Most events sent together."""

    calls_max: Annotated[int, Range(1, 100)] = 8
    """Most calls of one lane under way at once."""


@dataclass(frozen=True, kw_only=True)
class DevicesSettings(EdgeSettings):
    """What `devices` can be told."""

    tokens_file: Path = Path("tokens.json")
    """
    Tokens for the edge, JSON: subject to token, such as `{"passengers/p1": "eyJ..."}`.

    Subjects are `passengers/p1` to `passengers/p<devices>`, role `passenger`,
    tenant `tenant`. Read again whenever the file changes.
    """

    devices: Annotated[int, Range(0, DEVICES_MAX)] = DEFAULT_DEVICES
    """How many simulated devices follow the flight boards."""

    inboxes: Annotated[int, Range(0, DEVICES_MAX)] = 10
    """How many of them hold a live stream of their passenger's inbox besides."""

    online: Annotated[timedelta, Range(1, 3600)] = timedelta(seconds=40)
    """How long a device that goes offline stays online, on average."""

    offline: Annotated[timedelta, Range(1, 3600)] = timedelta(seconds=8)
    """How long it then stays offline, on average."""

    check_interval: Annotated[timedelta, Range(0.5, 600)] = timedelta(seconds=5)
    """How often the boards are compared with the server's."""


@dataclass(frozen=True, kw_only=True)
class MailsinkSettings(DemoSettings):
    """What `mailsink` can be told. `listen` is its SMTP address, with implicit mutual TLS."""

    mails_max: Annotated[int, Range(1, 1_000_000)] = 2_000
    """Most mails kept in the Maildir; the oldest go first."""

    mail_bytes_max: Annotated[int, Range(1024, 33_554_432)] = 1_048_576
    """Largest mail taken."""

    connections_max: Annotated[int, Range(1, 10_000)] = 100
    """Most connections at once; more are answered with 421."""
