"""
Grafana's dashboards as ours, and a list of what has no place here.

Reads what Grafana exports (schema versions from 16, rows with panels inside as well), without
asking any Grafana. Sources: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/
view-dashboard-json-model/ and what exported dashboards hold.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from meshkit.errors import InvalidInput
from telemetry.dashboards.units import UNITS


PANELS_MAX = 100
KINDS = {
    "timeseries": "PANEL_KIND_TIME_SERIES",
    "graph": "PANEL_KIND_TIME_SERIES",
    "barchart": "PANEL_KIND_TIME_SERIES",
    "stat": "PANEL_KIND_STAT",
    "singlestat": "PANEL_KIND_STAT",
    "gauge": "PANEL_KIND_GAUGE",
    "bargauge": "PANEL_KIND_GAUGE",
    "table": "PANEL_KIND_TABLE",
    "table-old": "PANEL_KIND_TABLE",
    "piechart": "PANEL_KIND_TABLE",
    "heatmap": "PANEL_KIND_HEATMAP",
    "logs": "PANEL_KIND_LOGS",
    "traces": "PANEL_KIND_TRACES",
    "text": "PANEL_KIND_TEXT",
}
"""Grafana's kinds of panels; a bar chart or a pie becomes the nearest of ours, which is told."""

_NEAREST = ("barchart", "piechart", "bargauge")
_PANEL_IGNORED = ("transformations", "repeat", "alert", "links", "timeFrom", "timeShift")
_BOARD_IGNORED = ("annotations", "links")
_LABEL_VALUES = re.compile(r"label_values\(\s*(?:(.+?)\s*,\s*)?([\w.]+)\s*\)")
_LEVELS = {
    "green": "OK", "semi-dark-green": "OK", "dark-green": "OK", "blue": "OK",
    "yellow": "WARNING", "orange": "WARNING", "dark-orange": "WARNING", "#eab839": "WARNING",
    "red": "CRITICAL", "dark-red": "CRITICAL", "semi-dark-red": "CRITICAL",
}  # fmt: skip


@dataclass(slots=True)
class Translated:
    """A dashboard of ours, and what was left out."""

    spec: dict[str, Any]
    """The contract's Dashboard, as JSON with the proto's field names."""

    untranslated: list[tuple[str, str]] = field(default_factory=list)
    """Where it stands, and what it was."""

    def miss(self, where: str, what: str) -> None:
        """Note something that was left out or changed."""
        self.untranslated.append((where, what))


def translate(content: str) -> Translated:
    """
    Translate an exported dashboard.

    Raises:
        InvalidInput: INVALID_DASHBOARD: it is none.

    """
    try:
        board = json.loads(content)
    except ValueError as error:
        raise _unreadable(f"it is no JSON: {error}") from None
    if isinstance(board, dict) and isinstance(board.get("dashboard"), dict):
        board = board["dashboard"]
    if not isinstance(board, dict) or not isinstance(board.get("panels", board.get("rows")), list):
        raise _unreadable("it has no panels")
    out = Translated({"title": str(board.get("title") or "Imported")[:200], "panels": []})
    out.spec["description"] = str(board.get("description") or "")[:2000]
    out.spec["tags"] = [str(tag) for tag in board.get("tags") or []][:20]
    for name in _BOARD_IGNORED:
        if _matters(name, board.get(name)):
            out.miss(name, "not kept here")
    listed = (board.get("templating") or {}).get("list") or []
    out.spec["variables"] = [
        made
        for number, given in enumerate(listed)
        if (made := _variable(given, f"templating.list[{number}]", out)) is not None
    ]
    for where, row, panel in _panels(board):
        if len(out.spec["panels"]) >= PANELS_MAX:
            out.miss(where, f"more than {PANELS_MAX} panels")
            break
        made = _panel(panel, where, out)
        if made is not None:
            out.spec["panels"].append(made | ({"row": row} if row else {}))
    return out


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(
        "INVALID_DASHBOARD",
        f"This is no dashboard of Grafana's: {why}.",
        field_violations={"content": why},
    )


def _matters(name: str, value: Any) -> bool:
    if name == "annotations":  # Each dashboard has one for Grafana's own alerts.
        listed = (value or {}).get("list") or []
        return any(not one.get("builtIn") for one in listed)
    return bool(value)


def _panels(board: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return panels with where they stand and the heading above them."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    heading = ""
    for number, one in enumerate(board.get("panels") or []):
        where = f"panels[{number}]"
        if one.get("type") == "row":
            heading = str(one.get("title") or "")
            inner = enumerate(one.get("panels") or [])
            found += [(f"{where}.panels[{n}]", heading, panel) for n, panel in inner]
        else:
            found.append((where, heading, one))
    for number, row in enumerate(board.get("rows") or []):
        title = str(row.get("title") or "")
        inner = enumerate(row.get("panels") or [])
        found += [(f"rows[{number}].panels[{n}]", title, panel) for n, panel in inner]
    return found


def _panel(given: dict[str, Any], where: str, out: Translated) -> dict[str, Any] | None:
    kind = str(given.get("type") or "")
    if kind not in KINDS:
        out.miss(where, f"panels of kind {kind!r}")
        return None
    if kind in _NEAREST:
        out.miss(f"{where}.type", f"{kind} is shown as {KINDS[kind].removeprefix('PANEL_KIND_')}")
    for name in _PANEL_IGNORED:
        if given.get(name):
            out.miss(f"{where}.{name}", "not translated")
    defaults = (given.get("fieldConfig") or {}).get("defaults") or {}
    if (given.get("fieldConfig") or {}).get("overrides"):
        out.miss(f"{where}.fieldConfig.overrides", "not translated")
    if defaults.get("mappings"):
        out.miss(f"{where}.fieldConfig.defaults.mappings", "not translated")
    place = given.get("gridPos") or {}
    made = {
        "title": str(given.get("title") or "")[:200],
        "description": _words(given, kind),
        "kind": KINDS[kind],
        "unit": _unit(given, defaults, where, out),
        "thresholds": _thresholds(given, defaults, where, out),
        "place": {
            "x": int(place.get("x", 0)),
            "y": int(place.get("y", 0)),
            "width": int(place.get("w", given.get("span", 6) * 2)),
            "height": int(place.get("h", 8)),
        },
    }
    queries = [
        query
        for number, target in enumerate(given.get("targets") or [])
        if (query := _query(target, kind, f"{where}.targets[{number}]", out)) is not None
    ]
    return made | {"queries": queries}


def _words(given: dict[str, Any], kind: str) -> str:
    options = given.get("options") or {}
    text = options.get("content") or given.get("content") if kind == "text" else None
    return str(text or given.get("description") or "")[:2000]


def _unit(given: dict[str, Any], defaults: dict[str, Any], where: str, out: Translated) -> str:
    axes = given.get("yaxes") or [{}]
    unit = str(defaults.get("unit") or axes[0].get("format") or given.get("format") or "")
    if unit in UNITS:
        return UNITS[unit]
    out.miss(f"{where}.unit", f"unit {unit!r}")
    return ""


def _thresholds(
    given: dict[str, Any], defaults: dict[str, Any], where: str, out: Translated
) -> list[dict[str, Any]]:
    asked = defaults.get("thresholds") or {}
    steps = asked.get("steps") or []
    if asked.get("mode") == "percentage":
        if len(steps) > 1:
            out.miss(f"{where}.thresholds", "thresholds in percent of the axis")
        return []
    old = given.get("thresholds")
    if isinstance(old, list) and not steps:
        levels = {"critical": "red", "warning": "orange", "ok": "green"}
        steps = [
            {"value": one.get("value"), "color": levels.get(str(one.get("colorMode")), "red")}
            for one in old
            if isinstance(one, dict)
        ]
    made: list[dict[str, Any]] = []
    for step in steps:
        colour = str(step.get("color") or "").lower()
        if step.get("value") is None:
            continue
        if colour not in _LEVELS:
            out.miss(f"{where}.thresholds", f"colour {colour!r} is taken for a warning")
        level = _LEVELS.get(colour, "WARNING")
        made.append({"value": float(step["value"]), "level": f"THRESHOLD_LEVEL_{level}"})
    return sorted(made, key=lambda one: float(one["value"]))[:20]


def _query(target: dict[str, Any], kind: str, where: str, out: Translated) -> dict[str, Any] | None:
    source = target.get("datasource")
    source = str(source.get("type") if isinstance(source, dict) else source or "").lower()
    text = str(target.get("expr") or target.get("query") or "")
    if target.get("hide"):
        out.miss(where, "a hidden query")
        return None
    if "loki" in source or (kind == "logs" and text):
        out.miss(where, f"LogQL is kept as it is and may not be read: {text[:200]}")
        return {"query": text, "language": "QUERY_LANGUAGE_LOGS"}
    if "tempo" in source or kind == "traces":
        out.miss(where, f"TraceQL is kept as it is and may not be read: {text[:200]}")
        return {"query": text, "language": "QUERY_LANGUAGE_TRACES"}
    if not target.get("expr") or (source and "prometheus" not in source and "$" not in source):
        out.miss(where, f"a query of {source or 'another source'}")
        return None
    legend = str(target.get("legendFormat") or "")
    if legend == "__auto":
        legend = ""
    return {"query": text, "language": "QUERY_LANGUAGE_PROMQL", "legend": legend}


def _variable(given: dict[str, Any], where: str, out: Translated) -> dict[str, Any] | None:
    kind, name = str(given.get("type") or ""), str(given.get("name") or "")
    made: dict[str, Any] = {
        "name": name,
        "label": str(given.get("label") or ""),
        "multi": bool(given.get("multi") or given.get("includeAll")),
        "defaults": _defaults(given),
    }
    if kind in ("custom", "interval"):
        texts = str(given.get("query") or "").split(",")
        made["options"] = [text.strip() for text in texts if text.strip()][:200]
    elif kind in ("constant", "textbox"):
        made["defaults"] = [str(given.get("query") or "")]
    elif kind == "query":
        query = given.get("query")
        text = str(query.get("query") if isinstance(query, dict) else query or "")
        found = _LABEL_VALUES.fullmatch(text.strip())
        if found is None:
            out.miss(where, f"choices by {text!r}")
        else:
            made |= {"label_name": found[2], "selector": found[1] or ""}
        if given.get("regex"):
            out.miss(f"{where}.regex", "choices are not filtered")
    else:
        out.miss(where, f"variables of kind {kind!r}")
        return None
    return made


def _defaults(given: dict[str, Any]) -> list[str]:
    value = (given.get("current") or {}).get("value")
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values if one not in (None, "", "$__all")]
