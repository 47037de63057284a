"""`alerts rules` and `alerts routing`: what is watched, and who is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from google.protobuf import json_format

from aerofusion.telemetry.v1 import (
    routing_pb2,
    routing_service_pb2,
    rule_group_pb2,
    rule_service_pb2,
)
from meshctl import exits
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of, duration_text
from meshctl.telemetry import CALL_TIMEOUT_S, Telemetry


FIRINGS_SHOWN = 10

a_file = click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="The file; - is standard input.",
)


@click.group()
def rules() -> None:
    """Say what is watched: rule files as Prometheus has them."""


@rules.command("list")
@as_json
@click.pass_obj
def list_rules(context: Context, /, *, wants_json: bool) -> None:
    """List rules, and how they are doing."""
    found = context.ask_telemetry(_groups)
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("There are no rules.")
        return
    rows = [_row(group, rule) for group in found for rule in group.rules]
    show_table(rows, ("group", "rule", "health", "firing", "pending", "took", "error"))


@rules.command("apply")
@a_file
@click.option("--prune", is_flag=True, help="Delete groups that a file of this name had before.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@as_json
@click.pass_obj
def apply_rules(
    context: Context, /, *, file: Path, prune: bool, dry_run: bool, wants_json: bool
) -> None:
    """Make the rule groups what a rule file of Prometheus says, all of it or nothing."""
    with click.open_file(str(file), encoding="utf-8") as opened:
        content = opened.read()
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.apply_rules(
            content, source=file.name, prune=prune, validate_only=dry_run
        )
    )
    if wants_json:
        show_json(as_dict(answer))
        return
    for what in ("created", "updated", "deleted", "unchanged"):
        for name in getattr(answer, what):
            click.echo(f"{what}  {name.removeprefix('ruleGroups/')}")
    if dry_run:
        click.echo("Nothing was changed.")


@rules.command("export")
@click.argument("names", nargs=-1)
@click.option("--plain", is_flag=True, help="Only what Prometheus knows.")
@as_json
@click.pass_obj
def export_rules(
    context: Context, /, *, names: tuple[str, ...], plain: bool, wants_json: bool
) -> None:
    """Print the rule groups NAMES, or all, as a rule file that `apply` takes."""
    request = rule_service_pb2.ExportRuleFileRequest(
        names=[f"ruleGroups/{name.removeprefix('ruleGroups/')}" for name in names], plain=plain
    )
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.rules.ExportRuleFile(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer))
        return
    click.echo(answer.content, nl=False)


@rules.command("delete")
@click.argument("name")
@as_json
@click.pass_obj
def delete_rules(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Delete the rule group NAME; its alerts are resolved."""
    request = rule_service_pb2.DeleteRuleGroupRequest(
        name=f"ruleGroups/{name.removeprefix('ruleGroups/')}"
    )
    context.ask_telemetry(
        lambda telemetry: telemetry.rules.DeleteRuleGroup(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"deleted": request.name})
        return
    click.echo("It is gone.")


@rules.command("try")
@click.argument("expr")
@click.option("--hold", default="0s", show_default=True, help="How long it must hold (`for`).")
@click.option("--last", default="24h", show_default=True, help="How far back to look.")
@click.option("--every", default="15s", show_default=True, help="How often to evaluate.")
@as_json
@click.pass_obj
def try_rule(
    context: Context, /, *, expr: str, hold: str, last: str, every: str, wants_json: bool
) -> None:
    """Say what an alert on EXPR would have done, without saving it."""
    lengths = {text: duration_of(text) for text in (hold, last, every)}
    for text, length in lengths.items():
        if length is None:
            raise MeshctlError(f"{text!r} is no duration.", "30s, 5m, 24h", exit_code=exits.USAGE)
    request = rule_service_pb2.DryRunRuleRequest(
        rule=rule_group_pb2.Rule(alert="Tried", expr=expr, hold=lengths[hold]),
        interval=lengths[every],
    )
    request.end_time.GetCurrentTime()
    back = lengths[last]
    assert back is not None, "it has just been checked"
    request.start_time.FromNanoseconds(request.end_time.ToNanoseconds() - back.ToNanoseconds())
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.rules.DryRunRule(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer))
        return
    click.echo(
        f"It would have fired {answer.firings} times in {last}, half of them for"
        f" {duration_text(answer.median_duration)} at most; {answer.pendings} times it would have"
        f" ended within {hold}. Looked at each {duration_text(answer.step)}."
    )
    rows = [
        {
            "fired": one.fire_time.ToDatetime().strftime("%m-%d %H:%M:%S"),
            "resolved": one.resolve_time.ToDatetime().strftime("%m-%d %H:%M:%S")
            if one.HasField("resolve_time")
            else "-",
            "value": f"{one.value:.4g}",
            "labels": ",".join(
                f"{name}={value}"
                for name, value in sorted(one.labels.items())
                if name != "alertname"
            ),
        }
        for one in answer.examples[-FIRINGS_SHOWN:]
    ]
    if rows:
        show_table(rows, list(rows[0]))


@click.group()
def routing() -> None:
    """Say who is told: policies, schedules and what holds what back."""


@routing.command("show")
@as_json
@click.pass_obj
def show_routing(context: Context, /, *, wants_json: bool) -> None:
    """Print who is told, as JSON that `apply` takes."""
    del wants_json  # it is JSON either way
    request = routing_service_pb2.GetRoutingRequest()
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.routing.GetRouting(request, timeout=CALL_TIMEOUT_S)
    )
    show_json(as_dict(answer.routing))


@routing.command("apply")
@a_file
@as_json
@click.pass_obj
def apply_routing(context: Context, /, *, file: Path, wants_json: bool) -> None:
    """Make who is told what a JSON file says, whole."""
    with click.open_file(str(file), encoding="utf-8") as opened:
        content = opened.read()
    try:
        wanted = json_format.Parse(content, routing_pb2.Routing())
    except json_format.ParseError as error:
        raise MeshctlError(f"{file}: {error}", "meshctl alerts routing show") from None
    request = routing_service_pb2.UpdateRoutingRequest(routing=wanted)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.routing.UpdateRouting(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer.routing))
        return
    policies = ", ".join(one.id for one in answer.routing.policies)
    click.echo(f"Policies: {policies or 'none, so nobody is told'}")


async def _groups(telemetry: Telemetry) -> list[rule_group_pb2.RuleGroup]:
    found: list[rule_group_pb2.RuleGroup] = []
    request = rule_service_pb2.ListRuleGroupsRequest(page_size=500)
    while True:
        answer = await telemetry.rules.ListRuleGroups(request, timeout=CALL_TIMEOUT_S)
        found += answer.rule_groups
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def _row(group: rule_group_pb2.RuleGroup, rule: rule_group_pb2.Rule) -> dict[str, Any]:
    health = rule_group_pb2.Rule.Health.Name(rule.health).removeprefix("HEALTH_").lower()
    return {
        "group": group.name.removeprefix("ruleGroups/"),
        "rule": rule.alert or rule.record,
        "health": {"unspecified": "-"}.get(health, health.replace("_", " ")),
        "firing": rule.firing_alerts or "",
        "pending": rule.pending_alerts or "",
        "took": f"{group.evaluation_duration.ToMicroseconds() / 1000:.1f} ms",
        "error": rule.error,
    }
