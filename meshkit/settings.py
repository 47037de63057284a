"""
Settings: typed, frozen, read once at start from the environment, all problems told at once.

A service's settings are a frozen dataclass over `MeshSettings`; field `queue_max` of the
service `notifier` is read from `NOTIFIER_QUEUE_MAX`. A misspelt variable is an error.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar


if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound="MeshSettings")


class InvalidSettings(Exception):
    """One or more settings are unusable; the message lists all of them, a line each."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number or duration in seconds; both ends are allowed."""

    at_least: float
    at_most: float


@dataclass(frozen=True, kw_only=True)
class MeshSettings:
    """What every service can be told. Durations are in seconds."""

    listen: str = "127.0.0.1:0"
    """Address of the gRPC server (mutual TLS). Port 0 picks a free one."""

    unix_socket: Path | None = None
    """Unix socket served without TLS to whoever may open it, with the operator's rights."""

    postgres_dsn: str = field(default="", repr=False)
    """PostgreSQL, as a URL; it may hold a password, so it is never logged."""

    nats_url: str = ""
    """NATS, such as `tls://127.0.0.1:4222`. Empty: no hints, only polling."""

    gateway_address: str = ""
    """The gateway's gRPC address, for the identity API."""

    telemetry_address: str = ""
    """Where traces, metrics and logs go. Empty: nowhere."""

    identity_dir: Path = Path("identity")
    """Folder of this process's private key, certificate and trust bundle."""

    join_file: Path | None = None
    """One-time join token; needed while `identity_dir` holds no good certificate."""

    replica: str = "0"
    """Which of the service's processes this is."""

    log_level: str = "info"
    """Least severe level that is logged: debug, info, warning or error."""

    shutdown_grace: Annotated[timedelta, Range(0, 600)] = timedelta(seconds=3)
    """How long calls under way may run on after SIGTERM."""


def load(kind: type[S], *, prefix: str, environ: Mapping[str, str]) -> S:
    """
    Read *kind*'s fields from `<PREFIX>_<FIELD>`.

    Raises:
        InvalidSettings: With every problem: unknown names, unreadable or missing
            values, values out of range, and what *kind* itself objects to.

    """
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {f"{prefix}_{f.name.upper()}": f for f in fields(kind)}
    problems = [
        f"{name}: no such setting"
        for name in sorted(environ)
        if name.startswith(f"{prefix}_") and name not in known
    ]
    values: dict[str, object] = {}
    for name, setting in known.items():
        if name in environ:
            try:
                values[setting.name] = parse(hints[setting.name], environ[name])
            except ValueError as error:
                problems.append(f"{name}: {error}")
        elif setting.default is MISSING and setting.default_factory is MISSING:
            problems.append(f"{name}: must be set")
    if not problems:
        try:
            return kind(**values)  # type: ignore[arg-type]
        except ValueError as error:
            problems += [_as_variable(line, prefix, kind) for line in str(error).splitlines()]
    raise InvalidSettings("\n".join(problems))


def _as_variable(problem: str, prefix: str, kind: type[MeshSettings]) -> str:
    """Name a field that *problem* begins with as the variable it is read from."""
    name, colon, rest = problem.partition(":")
    if name in {setting.name for setting in fields(kind)}:
        return f"{prefix}_{name.upper()}{colon}{rest}"
    return problem


def parse(hint: object, text: str) -> object:
    """
    Return *text* as a value of the type *hint*.

    Raises:
        ValueError: It is none, or out of its `Range`.

    """
    bounds = None
    if typing.get_origin(hint) is Annotated:
        hint, *extras = typing.get_args(hint)
        bounds = next((extra for extra in extras if isinstance(extra, Range)), None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if text == "":
            return None
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    value = _parse_plain(hint, text)
    if bounds is not None:
        number = value.total_seconds() if isinstance(value, timedelta) else value
        assert isinstance(number, int | float), "a Range belongs to a number"
        if not bounds.at_least <= number <= bounds.at_most:
            raise ValueError(f"must be {bounds.at_least:g} to {bounds.at_most:g}, not {text}")
    return value


def _parse_plain(kind: object, text: str) -> object:
    if kind is bool:
        try:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        except KeyError:
            raise ValueError(f"must be true or false, not {text!r}") from None
    if kind is timedelta:
        try:
            return timedelta(seconds=float(text))
        except (ValueError, OverflowError):
            raise ValueError(f"must be a number of seconds, not {text!r}") from None
    if kind in (int, float):
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            raise ValueError(f"must be a number, not {text!r}") from None
    if kind is Path:
        return Path(text)
    assert kind is str, f"no parser for {kind}"
    return text
