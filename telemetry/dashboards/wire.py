"""Dashboards as messages of the contract, read, checked and written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, timestamp_pb2

from aerofusion.telemetry.v1 import dashboard_pb2 as pb
from aerofusion.telemetry.v1 import dashboard_service_pb2 as rpc
from aerofusion.telemetry.v1 import query_service_pb2
from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from telemetry.dashboards.hub import Update
    from telemetry.dashboards.store.dashboards import Revision, Stored
    from telemetry.dashboards.watched import Points

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")
PANELS_MAX, QUERIES_MAX, VARIABLES_MAX, TAGS_MAX, THRESHOLDS_MAX = 100, 26, 20, 20, 20
OPTIONS_MAX = 200
_TITLE_MAX, _WORDS_MAX, _QUERY_BYTES_MAX = 200, 2_000, 64 * 1024
_OUTPUT_ONLY = ("name", "etag", "revision", "create_time", "update_time")
_NAME = re.compile(r"[A-Za-z_]\w{0,49}")
_NOT_ID = re.compile(r"[^A-Za-z0-9._~-]+")


def read_id(field: str, name: str) -> str:
    """Return the id in `dashboards/{id}`; raises InvalidInput INVALID_NAME."""
    head, _, last = name.partition("/")
    if head != "dashboards" or not ID.fullmatch(last):
        form = "must be dashboards/ and an id of A-Z a-z 0-9 . _ ~ - up to 128"
        raise InvalidInput("INVALID_NAME", f"{field} {form}.", field_violations={field: form})
    return last


def id_of_title(title: str) -> str:
    """Return the id of a dashboard that is called *title*."""
    made = _NOT_ID.sub("-", title.lower()).strip("._~-")[:128]
    return made if ID.fullmatch(made) else "dashboard"


def spec_of(given: pb.Dashboard) -> dict[str, Any]:
    """
    Return what is stored of a dashboard.

    Raises:
        InvalidInput: INVALID_DASHBOARD, with every field that is wrong.

    """
    wrong = dict(_problems(given))
    if wrong:
        told = "; ".join(f"{where}: {what}" for where, what in list(wrong.items())[:3])
        raise InvalidInput(
            "INVALID_DASHBOARD", f"The dashboard can't be: {told}.", field_violations=wrong
        )
    kept = pb.Dashboard()
    kept.CopyFrom(given)
    for name in _OUTPUT_ONLY:
        kept.ClearField(name)  # type: ignore[arg-type]
    made: dict[str, Any] = json_format.MessageToDict(kept, preserving_proto_field_name=True)
    return made


def message_of_spec(spec: Mapping[str, Any]) -> pb.Dashboard:
    """Return a spec as a message; raises InvalidInput INVALID_DASHBOARD."""
    try:
        return json_format.ParseDict(dict(spec), pb.Dashboard())
    except json_format.ParseError as error:
        raise InvalidInput(
            "INVALID_DASHBOARD",
            f"The dashboard can't be: {error}.",
            field_violations={"dashboard": str(error)},
        ) from None


def message(stored: Stored, *, whole: bool = True) -> pb.Dashboard:
    """Return a stored dashboard, without panels and variables unless *whole*."""
    out = message_of_spec(stored.spec)
    out.name = f"dashboards/{stored.id}"
    out.etag, out.revision = stored.etag, stored.revision
    for name, at in (("create_time", stored.create_time), ("update_time", stored.update_time)):
        if at is not None:
            getattr(out, name).CopyFrom(timestamp(at))
    if not whole:
        out.ClearField("panels")
        out.ClearField("variables")
    return out


def revision(one: Revision) -> rpc.DashboardRevision:
    """Return one change."""
    return rpc.DashboardRevision(
        revision=one.revision,
        author=one.author,
        create_time=timestamp(one.create_time),
        deleted=one.deleted,
        title=one.title,
    )


def update(one: Update) -> rpc.WatchUpdate:
    """Return what is new of a query."""
    return rpc.WatchUpdate(
        query=one.query,
        full=one.full,
        series=_series(one.series),
        newest=_series(one.newest),
        problem=one.problem,
    )


def timestamp(at: datetime) -> timestamp_pb2.Timestamp:
    """Return a time as a message."""
    out = timestamp_pb2.Timestamp()
    out.FromDatetime(at)
    return out


def _series(points: Sequence[Points]) -> list[query_service_pb2.TimeSeries]:
    # Series that have all points share their times.
    times = {id(one.ts): one.ts for one in points}
    listed = {at: ts.tolist() for at, ts in times.items()}
    return [
        query_service_pb2.TimeSeries(
            labels=dict(one.labels), timestamps_ms=listed[id(one.ts)], values=one.values.tolist()
        )
        for one in points
    ]


def _problems(given: pb.Dashboard) -> list[tuple[str, str]]:
    found = []
    if not given.title:
        found.append(("dashboard.title", "required"))
    found += _too_long("dashboard", given.title, given.description)
    for name, listed, most in (
        ("tags", given.tags, TAGS_MAX),
        ("variables", given.variables, VARIABLES_MAX),
        ("panels", given.panels, PANELS_MAX),
    ):
        if len(listed) > most:
            found.append((f"dashboard.{name}", f"at most {most}"))
    for number, variable in enumerate(given.variables):
        where = f"dashboard.variables[{number}]"
        if not _NAME.fullmatch(variable.name):
            found.append((f"{where}.name", "1 to 50 letters, digits and underscores"))
        if len(variable.options) > OPTIONS_MAX:
            found.append((f"{where}.options", f"at most {OPTIONS_MAX}"))
    for number, panel in enumerate(given.panels):
        found += _panel_problems(panel, f"dashboard.panels[{number}]")
    return found


def _panel_problems(panel: pb.Panel, where: str) -> list[tuple[str, str]]:
    found = _too_long(where, panel.title, panel.description)
    if len(panel.queries) > QUERIES_MAX:
        found.append((f"{where}.queries", f"at most {QUERIES_MAX}"))
    if len(panel.thresholds) > THRESHOLDS_MAX:
        found.append((f"{where}.thresholds", f"at most {THRESHOLDS_MAX}"))
    values = [one.value for one in panel.thresholds]
    if values != sorted(values):
        found.append((f"{where}.thresholds", "must be ascending"))
    place = panel.place
    if not (0 <= place.x <= 23 and 0 <= place.width <= 24 and place.y >= 0 and place.height >= 0):
        found.append((f"{where}.place", "must lie in a grid of 24 columns"))
    for number, query in enumerate(panel.queries):
        if not 0 < len(query.query.encode()) <= _QUERY_BYTES_MAX:
            found.append((f"{where}.queries[{number}].query", "1 byte to 64 KiB"))
    return found


def _too_long(where: str, title: str, words: str) -> list[tuple[str, str]]:
    found = []
    if len(title) > _TITLE_MAX:
        found.append((f"{where}.title", f"at most {_TITLE_MAX} characters"))
    if len(words) > _WORDS_MAX:
        found.append((f"{where}.description", f"at most {_WORDS_MAX} characters"))
    return found
