"""The verb `explain`: why the edge answers a request as it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from google.protobuf import json_format

from aerofusion.gateway.v1 import explain_service_pb2 as rpc
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S
from meshctl.cli.context import Context, as_json, show_json
from meshctl.faults import MeshctlError


BODIES = {
    "none": rpc.CallDescription.BODY_NONE,
    "grpc": rpc.CallDescription.BODY_GRPC,
    "grpc-web": rpc.CallDescription.BODY_GRPC_WEB,
    "grpc-web-text": rpc.CallDescription.BODY_GRPC_WEB_TEXT,
    "json": rpc.CallDescription.BODY_JSON,
    "other": rpc.CallDescription.BODY_OTHER,
}
SHOWN = {
    rpc.ExplainStep.VERDICT_CHOSEN: ("·", "cyan"),
    rpc.ExplainStep.VERDICT_PASSED: ("✓", "green"),
    rpc.ExplainStep.VERDICT_CHANGED: ("~", "cyan"),
    rpc.ExplainStep.VERDICT_MISSED: ("·", "yellow"),
    rpc.ExplainStep.VERDICT_IDLE: (" ", "bright_black"),
    rpc.ExplainStep.VERDICT_DEPENDS: ("?", "yellow"),
    rpc.ExplainStep.VERDICT_SHADOW: ("!", "yellow"),
    rpc.ExplainStep.VERDICT_ANSWERED: ("◂", "green"),
    rpc.ExplainStep.VERDICT_REFUSED: ("✗", "red"),
    rpc.ExplainStep.VERDICT_NOT_MODELLED: ("?", "magenta"),
}
"""Verdict to its mark and colour."""

GRPC = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""gRPC's status codes by number."""

PLAIN_STAGES = ("listener", "listener_filter", "filter_chain", "virtual_host")
FILTERS = "envoy.filters.http."


@click.command()
@click.argument("path", required=False)
@click.option(
    "-X", "--method", default="", help="HTTP method.  [default: GET, or POST with a body]"
)
@click.option("-H", "--header", "headers", multiple=True, help="NAME: VALUE. Repeatable.")
@click.option(
    "--body", type=click.Choice(list(BODIES)), help="What it carries.  [default: by the path]"
)
@click.option("--host", default="", help="Its host.  [default: localhost]")
@click.option("--sni", default="", help="TLS server name.  [default: none]")
@click.option("--from", "remote_address", default="", help="The caller's IP address.")
@click.option("--token", help="A token, as it would be sent. - is standard input.")
@click.option("--claims", help='Claims taken to be good: \'{"sub": "passengers/p1"}\'.')
@click.option("--log-line", help="A record of the edge's access log. - is standard input.")
@click.option("--revision", default=0, help="Revision of the catalog.  [default: the newest]")
@click.option("--random", type=int, help="What a weighted split is decided with.")
@click.option(
    "--all", "wants_all", is_flag=True, help="Show what isn't concerned or is as always, too."
)
@as_json
@click.pass_obj
def explain(
    context: Context,
    /,
    *,
    path: str | None,
    log_line: str | None,
    wants_all: bool,
    wants_json: bool,
    **options: Any,
) -> int:
    """
    Say what the edge does with a request for PATH, step by step, and sends nothing.

    PATH is a gRPC method such as /pkg.Service/Method, or a JSON path such as /notify/v1/messages.
    Without --log-line it is required.

    Exit codes besides those of meshctl: 0 it would be served, 3 it would be refused, 4 it isn't
    known.
    """
    request = _request(path, log_line, options)
    answer = context.ask(lambda admin: admin.explain.Explain(request, timeout=CALL_TIMEOUT_S))
    if wants_json:
        show_json(json_format.MessageToDict(answer, preserving_proto_field_name=True))
    else:
        show(answer, coloured=_coloured(), wants_all=wants_all)
    return exit_code(answer)


def _request(path: str | None, log_line: str | None, options: dict[str, Any]) -> rpc.ExplainRequest:
    if (path is None) == (log_line is None):
        raise MeshctlError(
            "Either a path or a line of the access log is needed.",
            "meshctl explain /pkg.Service/Method",
            exit_code=exits.USAGE,
        )
    request = rpc.ExplainRequest(revision=options["revision"])
    if log_line is not None:
        request.log_line = _text(log_line)
    else:
        request.call.CopyFrom(_call(path or "", options))
    if options["token"] is not None:
        request.token = _text(options["token"])
    if options["claims"] is not None:
        try:
            json_format.Parse(options["claims"], request.claims)
            request.claims.SetInParent()
        except json_format.ParseError as error:
            raise MeshctlError(
                f"The claims are no JSON object: {error}.",
                '--claims \'{"sub": "passengers/p1"}\'',
                exit_code=exits.USAGE,
            ) from None
    if options["random"] is not None:
        request.random = options["random"]
    return request


def _call(path: str, options: dict[str, Any]) -> rpc.CallDescription:
    made = rpc.CallDescription(
        path=path if path.startswith("/") else f"/{path}",
        method=options["method"].upper(),
        host=options["host"],
        server_name=options["sni"],
        remote_address=options["remote_address"],
    )
    for header in options["headers"]:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise MeshctlError(
                f"{header} is no header.", '-H "x-canary: yes"', exit_code=exits.USAGE
            )
        made.headers.add(name=name.strip().lower(), value=value.strip())
    if options["body"] is not None:
        made.body = BODIES[options["body"]]
    elif not any(header.name == "content-type" for header in made.headers):
        # A gRPC method's path has two elements, and a dot in the first.
        service, _, method = made.path[1:].partition("/")
        if "." in service and method and "/" not in method and not made.method:
            made.body = rpc.CallDescription.BODY_GRPC
    return made


def _text(value: str) -> str:
    return sys.stdin.read().strip() if value == "-" else value


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def exit_code(answer: rpc.ExplainResponse) -> int:
    """Return 0 for a request that would be served, 3 for a refused one, 4 if it isn't known."""
    expected = answer.answer
    if not answer.certain or expected.source == rpc.ExpectedAnswer.SOURCE_UNSPECIFIED:
        return exits.UNKNOWN
    refused = any(step.verdict == rpc.ExplainStep.VERDICT_REFUSED for step in answer.steps)
    served = expected.source == rpc.ExpectedAnswer.SOURCE_SERVICE or not refused
    return exits.OK if served else exits.REFUSED


def show(answer: rpc.ExplainResponse, *, coloured: bool, wants_all: bool) -> None:
    """Print *answer* as a list of steps, then what comes of them."""
    steps = [step for step in answer.steps if wants_all or _matters(step)]
    names = [step.name.removeprefix(FILTERS) if step.name else step.stage for step in steps]
    stages = [step.stage for step in steps]
    wide, wider = max(map(len, stages), default=0), min(max(map(len, names), default=0), 44)
    before = ""
    for step, name in zip(steps, names, strict=True):
        mark, colour = SHOWN.get(step.verdict, ("?", "magenta"))
        head = f"{mark} {step.stage:<{wide}}  {name:<{wider}}  "
        click.echo(_style(head, colour, coloured=coloured) + step.says, color=coloured)
        if step.object and step.object != before:
            who = f", revision {step.revision} by {_who(step.actor)}" if step.revision else ""
            indent = " " * (wide + wider + 6)
            told = _style(f"{indent}{step.object}{who}", "bright_black", coloured=coloured)
            click.echo(told, color=coloured)
            before = step.object
    click.echo()
    for line in _outcome(answer):
        click.echo(line)


def _matters(step: rpc.ExplainStep) -> bool:
    """Whether a step says more than that all is as always."""
    if step.stage in PLAIN_STAGES:
        return step.verdict not in (
            rpc.ExplainStep.VERDICT_CHOSEN,
            rpc.ExplainStep.VERDICT_DEPENDS,
        )
    return step.verdict != rpc.ExplainStep.VERDICT_IDLE


def _who(actor: str) -> str:
    return actor.removeprefix("spiffe://aerofusion/")


def _outcome(answer: rpc.ExplainResponse) -> Sequence[str]:
    lines = []
    if answer.grpc_method:
        lines.append(f"method     {answer.grpc_method}")
    lines += [
        f"cluster    {one.cluster}{'' if one.share == 1 else f', {one.share:.1%}'}"
        f"{' (chosen)' if one.chosen and one.share != 1 else ''}"
        for one in answer.clusters
    ]
    lines += [
        f"endpoint   {one.address}, {one.health}{'' if one.eligible else ', gets no calls'}"
        for one in answer.endpoints
    ]
    lines.append(f"answer     {_said(answer)}")
    lines.append(f"revision   {answer.revision}")
    if answer.HasField("log"):
        logged = answer.log
        grpc = f", gRPC {logged.grpc_status}" if logged.HasField("grpc_status") else ""
        lines.append(f"logged     {logged.http_status}{grpc} ({logged.details or 'no details'})")
        lines += [f"           {one}" for one in logged.meanings]
        lines += [f"differs    {one}" for one in logged.differences]
        if not logged.differences:
            lines.append("           As expected.")
    return lines


def _said(answer: rpc.ExplainResponse) -> str:
    expected = answer.answer
    if expected.source == rpc.ExpectedAnswer.SOURCE_SERVICE:
        text = "whatever the service says"
    elif expected.source == rpc.ExpectedAnswer.SOURCE_EDGE:
        text = (
            f"HTTP {expected.http_status}" if expected.http_status else "the connection is closed"
        )
        if expected.HasField("grpc_status"):
            text += f", gRPC {GRPC[expected.grpc_status]}"
        text += f", from the edge ({expected.details})" if expected.details else ", from the edge"
    else:
        text = "not known"
    return text if answer.certain else f"{text}; a step isn't modelled, so it may be another"


def _style(text: str, colour: str, *, coloured: bool) -> str:
    return click.style(text, fg=colour) if coloured else text
