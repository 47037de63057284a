"""The verbs `forecast` and `sizes`: what metrics will be, and how large services should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aerofusion.telemetry.v1 import forecast_service_pb2 as rpc
from meshctl import exits, paint
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of
from meshctl.sparks import number, spark
from meshctl.telemetry import CALL_TIMEOUT_S


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

LINE_MAX = 72
"""Blocks of a picture; a third of them are the forecast's at most."""

SERIES_SHOWN = 10


@click.command()
@click.argument("expression")
@click.option(
    "--ahead", metavar="DURATION", default="24h", show_default=True, help="How far ahead."
)
@click.option(
    "--history", metavar="DURATION", default="672h", show_default=True, help="Learn from so much."
)
@click.option("--step", metavar="DURATION", help="Between two points.  [default: as fits]")
@click.option(
    "--season",
    "seasons",
    metavar="DURATION",
    multiple=True,
    help="Such as 24h; can be given again.  [default: found]",
)
@click.option("--threshold", type=float, help="Say when this value is reached.")
@click.option("--falling", is_flag=True, help="It is reached from above.")
@as_json
@click.pass_obj
def forecast(
    context: Context,
    /,
    *,
    expression: str,
    ahead: str,
    history: str,
    step: str | None,
    seasons: Sequence[str],
    threshold: float | None,
    falling: bool,
    wants_json: bool,
) -> None:
    """Go on from the series of EXPRESSION, in PromQL, and say how far that may be believed."""
    request = rpc.ForecastRequest(
        query=expression,
        horizon=_duration(ahead),
        history=_duration(history),
        seasons=[_duration(one) for one in seasons],
        falling=falling,
        threshold=threshold,
        with_history=not wants_json,
    )
    if step is not None:
        request.step.CopyFrom(_duration(step))
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.forecasts.Forecast(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"forecasts": [], **as_dict(answer)})
        return
    if not answer.forecasts:
        click.echo("The expression finds no series.")
    for one in answer.forecasts[:SERIES_SHOWN]:
        _show(one, threshold)
    if len(answer.forecasts) > SERIES_SHOWN:
        click.echo(f"... and {len(answer.forecasts) - SERIES_SHOWN} more series; see --json")


def _show(one: rpc.SeriesForecast, threshold: float | None) -> None:
    click.echo(paint.paint(labels_text(one.labels) or "(no labels)", "cyan"))
    if one.point:
        click.echo("  " + _picture(one))
        last = len(one.point) - 1
        click.echo(
            f"  at the end {number(one.point[last])}, nine in ten between"
            f" {number(one.p10[last])} and {number(one.p90[last])}; highest"
            f" {number(max(one.point))}, lowest {number(min(one.point))}"
        )
        click.echo(f"  {_judged(one)}")
    if threshold is not None and one.HasField("exhaustion"):
        click.echo(f"  {_reached(one.exhaustion, threshold)}")
    for reason in one.reasons:
        click.echo(f"  {reason}")


def _picture(one: rpc.SeriesForecast) -> str:
    """Return the past, and after a bar what comes, on one scale."""
    ahead = max(1, min(LINE_MAX // 3, len(one.point)))
    back = one.history[-len(one.point) * 2 :] if one.history else []
    known = [value for value in (*back, *one.point) if value == value]  # noqa: PLR0124 - NaN
    low, high = min(known), max(known)
    past = spark(back, LINE_MAX - ahead, low, high)
    return f"{past}│{paint.paint(spark(one.point, ahead, low, high), 'yellow')}"


def _judged(one: rpc.SeriesForecast) -> str:
    test = one.backtest
    seasons = ", ".join(f"{season.ToSeconds() / 3600:g}h" for season in one.seasons) or "none"
    better = ""
    if test.naive_mase > 0:
        better = f", {test.mase / test.naive_mase:.2f} of the seasonal naive's"
    return (
        f"seasons {seasons}; off by {number(test.mae)} on average over {test.origins} earlier"
        f" forecasts{better}"
    )


def _reached(found: rpc.Exhaustion, threshold: float) -> str:
    if not found.HasField("earliest_time"):
        return f"{number(threshold)} isn't reached in that time"
    dates = [
        _date(getattr(found, name)) if found.HasField(name) else "later"
        for name in ("likely_time", "earliest_time", "latest_time")
    ]
    return (
        f"{number(threshold)} is reached {dates[0]}, nine in ten between {dates[1]} and"
        f" {dates[2]}; within the time with {found.probability:.0%}"
    )


@click.command()
@click.argument("services", nargs=-1)
@click.option(
    "--history", metavar="DURATION", default="168h", show_default=True, help="Look at so much."
)
@click.option(
    "--ahead", metavar="DURATION", default="168h", show_default=True, help="To do for so long."
)
@as_json
@click.pass_obj
def sizes(
    context: Context, /, *, services: Sequence[str], history: str, ahead: str, wants_json: bool
) -> None:
    """Advise on CPU and memory of SERVICES, or of all, by what they have used and will use."""
    request = rpc.AdviseSizesRequest(
        services=services, history=_duration(history), horizon=_duration(ahead)
    )
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.forecasts.AdviseSizes(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"advice": [], **as_dict(answer)})
        return
    if not answer.advice:
        click.echo("Nothing is known of their CPU and memory.")
        return
    rows = [_row(one) for one in answer.advice]
    show_table(rows, list(rows[0]))
    told = sorted(
        {text for one in answer.advice for text in (*one.cpu.reasons, *one.memory.reasons)}
    )
    for reason in told:
        click.echo(reason)


def _row(one: rpc.SizeAdvice) -> dict[str, Any]:
    return {
        "service": one.service,
        "replicas": one.replicas,
        "cpu p95": number(one.cpu.p95),
        "cpu peak": number(one.cpu.peak),
        "cpu request": f"{one.cpu.request * 1000:.0f}m",
        "memory peak": number(one.memory.peak, "By"),
        "memory request": number(one.memory.request, "By"),
        "memory limit": number(one.memory.limit, "By"),
    }


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as PromQL writes them."""
    name = labels.get("__name__", "")
    rest = ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k != "__name__")
    return f"{name}{{{rest}}}" if rest else name


def _date(at: Timestamp) -> str:
    return f"{at.ToDatetime():%Y-%m-%d %H:%M}"


def _duration(text: str) -> Duration:
    found = duration_of(text)
    if found is None or found.ToNanoseconds() <= 0:
        raise MeshctlError(f"{text} is no duration.", "24h", exit_code=exits.USAGE)
    return found
