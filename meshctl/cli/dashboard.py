"""The verb `dashboard`: list, show, import dashboards, and see their history."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aerofusion.telemetry.v1 import dashboard_pb2
from aerofusion.telemetry.v1 import dashboard_service_pb2 as rpc
from meshctl import exits, paint
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.forecast import labels_text
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of
from meshctl.sparks import number, spark
from meshctl.telemetry import CALL_TIMEOUT_S


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.duration_pb2 import Duration

    from meshctl.telemetry import Telemetry

LINE_MAX = 40
SERIES_SHOWN = 8
_LABEL = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
_COLOURS = {
    dashboard_pb2.THRESHOLD_LEVEL_WARNING: "yellow",
    dashboard_pb2.THRESHOLD_LEVEL_CRITICAL: "red",
}
_DRAWN = (dashboard_pb2.QUERY_LANGUAGE_UNSPECIFIED, dashboard_pb2.QUERY_LANGUAGE_PROMQL)

Lines = dict[tuple[tuple[str, str], ...], dict[int, float]]
"""Points by time, by the labels of their series."""


@click.group()
def dashboard() -> None:
    """Dashboards: those that come with the mesh, and your own."""


@dashboard.command("list")
@as_json
@click.pass_obj
def list_dashboards(context: Context, /, *, wants_json: bool) -> None:
    """List dashboards."""
    request = rpc.ListDashboardsRequest(page_size=1000)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.dashboards.ListDashboards(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"dashboards": [], **as_dict(answer)})
        return
    rows = [
        {
            "name": one.name.removeprefix("dashboards/"),
            "title": one.title,
            "revision": one.revision or "shipped",
            "tags": ", ".join(one.tags),
        }
        for one in answer.dashboards
    ]
    show_table(rows, ["name", "title", "revision", "tags"])


@dashboard.command()
@click.argument("name")
@click.option("--range", "length", metavar="DURATION", help="How much.  [default: its own]")
@click.option(
    "--step", metavar="DURATION", default="15s", show_default=True, help="Between points."
)
@click.option("--var", "chosen", metavar="NAME=CHOICE", multiple=True, help="Choose a variable.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is new.")
@as_json
@click.pass_obj
def show(
    context: Context,
    /,
    *,
    name: str,
    length: str | None,
    step: str,
    chosen: Sequence[str],
    follow: bool,
    wants_json: bool,
) -> None:
    """Draw dashboard NAME."""
    request = rpc.ResolveDashboardRequest(
        name=f"dashboards/{name}", chosen=_chosen(chosen), step=_duration(step)
    )
    if length is not None:
        request.range.CopyFrom(_duration(length))

    async def ask(telemetry: Telemetry) -> None:
        board = (
            await telemetry.dashboards.ResolveDashboard(request, timeout=CALL_TIMEOUT_S)
        ).dashboard
        watch = rpc.WatchRangeRequest(queries=_drawn(board), step=request.step)
        shown = request.range if length is not None else board.default_range
        if shown.ToNanoseconds():
            watch.range.CopyFrom(shown)

        def draw(found: Answers) -> None:
            if wants_json:
                show_json(_as_json(board, found))
            else:
                _draw(board, found, again=follow)

        await _watch(telemetry, watch, draw, follow=follow)

    context.ask_telemetry(ask)


def _drawn(board: dashboard_pb2.Dashboard) -> list[str]:
    """Return the queries that can be drawn, each once."""
    queries = (query for panel in board.panels for query in panel.queries)
    return list(dict.fromkeys(one.query for one in queries if one.language in _DRAWN))


async def _watch(
    telemetry: Telemetry,
    request: rpc.WatchRangeRequest,
    draw: Callable[[Answers], None],
    *,
    follow: bool,
) -> None:
    """Draw once all queries have an answer, and again whenever something is new to *follow*."""
    found = Answers(request.queries)
    if found.whole():
        draw(found)
        return
    timeout = None if follow else CALL_TIMEOUT_S
    watch = telemetry.dashboards.WatchRange(request, timeout=timeout)
    try:
        async for message in watch:
            found.take(message)
            if found.whole():
                draw(found)
                if not follow:
                    break
    finally:
        watch.cancel()


class Answers:
    """What is known of each query."""

    def __init__(self, queries: Sequence[str]) -> None:
        self._queries = list(queries)
        self.lines: dict[str, Lines] = {}
        self.problems: dict[str, str] = {}

    def whole(self) -> bool:
        """Whether every query has an answer, or a reason for none."""
        return len(self.lines) == len(self._queries)

    def take(self, message: rpc.WatchRangeResponse) -> None:
        """Put together what is new."""
        for update in message.updates:
            query = self._queries[update.query]
            lines = {} if update.full else self.lines.get(query, {})
            for one in (*update.series, *update.newest):
                points = zip(one.timestamps_ms, one.values, strict=True)
                lines.setdefault(tuple(sorted(one.labels.items())), {}).update(points)
            self.lines[query] = lines
            self.problems[query] = update.problem


def _draw(board: dashboard_pb2.Dashboard, found: Answers, *, again: bool) -> None:
    if again:
        click.clear()
    click.echo(paint.paint(board.title, "cyan", bold=True))
    for panel in board.panels:
        _draw_panel(panel, found)


def _draw_panel(panel: dashboard_pb2.Panel, found: Answers) -> None:
    click.echo(f"\n{paint.paint(panel.title, 'white', bold=True)}")
    if panel.kind == dashboard_pb2.PANEL_KIND_TEXT:
        click.echo(f"  {panel.description}")
    rows = []
    for query in panel.queries:
        if query.language not in _DRAWN:
            click.echo(f"  not drawn here: {query.query}")
            continue
        if problem := found.problems.get(query.query):
            click.echo(f"  {problem}")
        for labels, points in found.lines.get(query.query, {}).items():
            values = [points[at] for at in sorted(points)]
            rows.append((_legend(query.legend, dict(labels)), values))
    rows.sort(key=lambda row: -row[1][-1] if math.isfinite(row[1][-1]) else math.inf)
    if not rows and panel.queries:
        click.echo("  nothing")
    width = max((len(legend) for legend, _ in rows[:SERIES_SHOWN]), default=0)
    for legend, values in rows[:SERIES_SHOWN]:
        last = number(values[-1], panel.unit)
        colour = _colour(panel, values[-1])
        told = paint.paint(last, colour) if colour else last
        click.echo(f"  {legend.ljust(width)}  {spark(values, LINE_MAX).ljust(LINE_MAX)}  {told}")
    if len(rows) > SERIES_SHOWN:
        click.echo(f"  ... and {len(rows) - SERIES_SHOWN} more")


def _colour(panel: dashboard_pb2.Panel, value: float) -> str:
    passed = [one.level for one in panel.thresholds if value >= one.value]
    return _COLOURS.get(passed[-1], "green") if passed else ""


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    if pattern:
        return _LABEL.sub(lambda found: labels.get(found[1], ""), pattern)
    return labels_text(labels) or "value"


def _as_json(board: dashboard_pb2.Dashboard, found: Answers) -> list[dict[str, Any]]:
    return [
        {
            "title": panel.title,
            "unit": panel.unit,
            "series": [
                {
                    "labels": dict(labels),
                    "points": [[at, points[at]] for at in sorted(points)],
                }
                for query in panel.queries
                for labels, points in found.lines.get(query.query, {}).items()
            ],
            "problems": [
                problem
                for query in panel.queries
                if (problem := found.problems.get(query.query, ""))
            ],
        }
        for panel in board.panels
    ]


@dashboard.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="", help="Id it gets.  [default: made of its title]")
@click.option("--dry-run", is_flag=True, help="Only say what would be left out.")
@as_json
@click.pass_obj
def import_grafana(
    context: Context, /, *, file: Path, name: str, dry_run: bool, wants_json: bool
) -> None:
    """Make a dashboard of FILE, which Grafana exported, and say what couldn't be translated."""
    request = rpc.ImportGrafanaDashboardRequest(
        content=file.read_text(encoding="utf-8"), dashboard_id=name, validate_only=dry_run
    )
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.dashboards.ImportGrafanaDashboard(
            request, timeout=CALL_TIMEOUT_S
        )
    )
    if wants_json:
        show_json({"untranslated": [], **as_dict(answer)})
        return
    board = answer.dashboard
    said = "would be" if dry_run else "is"
    click.echo(
        f"{board.title} {said} {board.name.removeprefix('dashboards/')},"
        f" {len(board.panels)} panels."
    )
    if answer.untranslated:
        rows = [{"where": one.where, "not translated": one.what} for one in answer.untranslated]
        show_table(rows, list(rows[0]))


@dashboard.command()
@click.argument("name")
@as_json
@click.pass_obj
def history(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show who changed dashboard NAME, and when."""
    request = rpc.ListDashboardRevisionsRequest(name=f"dashboards/{name}")
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.dashboards.ListDashboardRevisions(
            request, timeout=CALL_TIMEOUT_S
        )
    )
    if wants_json:
        show_json({"revisions": [], **as_dict(answer)})
        return
    rows = [
        {
            "revision": one.revision,
            "time": f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
            "author": one.author,
            "title": "(deleted)" if one.deleted else one.title,
        }
        for one in answer.revisions
    ]
    show_table(rows, ["revision", "time", "author", "title"])


def _chosen(given: Sequence[str]) -> dict[str, str]:
    chosen = {}
    for one in given:
        variable, equals, choice = one.partition("=")
        if not equals:
            raise MeshctlError(f"{one} is no choice.", "--var host=a", exit_code=exits.USAGE)
        chosen[variable] = choice
    return chosen


def _duration(text: str) -> Duration:
    found = duration_of(text)
    if found is None or found.ToNanoseconds() <= 0:
        raise MeshctlError(f"{text} is no duration.", "1h", exit_code=exits.USAGE)
    return found
