"""The verb `route`: exceptions to where a service's calls go."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf import duration_pb2, field_mask_pb2
from google.protobuf.message import Message

from aerofusion.gateway.v1 import catalog_service_pb2, route_pb2
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.catalog import (
    PAGE_SIZE,
    as_dict,
    from_file,
    pages,
    read_object,
    show_object,
    show_revisions,
)
from meshctl.cli.context import Context, Verb, as_json, show_json, show_table
from meshctl.faults import MeshctlError


OUTPUTS = frozenset({"name", "etag", "create_time", "update_time", "revision"})


@click.group()
def route() -> None:
    """List, read and change routes. NAME is SERVICE/ROUTE."""


def described(verb: Verb) -> Verb:
    """Give *verb* the options that describe a route."""
    for option in (
        click.option("--description", help="For people."),
        click.option("--match-service", help="Full name of a gRPC service."),
        click.option("--match-method", help="A method of it."),
        click.option("--match-header", "headers", multiple=True, help="NAME=VALUE. Repeatable."),
        click.option("--to", "destinations", multiple=True, help="SERVICE[:WEIGHT]. Repeatable."),
        click.option("--timeout", "timeout_s", type=float, help="Seconds."),
        click.option("--role", "roles", multiple=True, help="Who may call it. Repeatable."),
        from_file,
    ):
        verb = option(verb)
    return verb


def build(
    file: Path | None,
    *,
    description: str | None,
    match_service: str | None,
    match_method: str | None,
    headers: tuple[str, ...],
    destinations: tuple[str, ...],
    timeout_s: float | None,
    roles: tuple[str, ...],
) -> tuple[route_pb2.Route, list[str]]:
    """The route that was described, and the names of the fields that were."""
    made = read_object(route_pb2.Route(), file)
    if description is not None:
        made.description = description
    if match_service is not None:
        made.match.grpc_service = match_service
    if match_method is not None:
        made.match.grpc_method = match_method
    if headers:
        del made.match.headers[:]
        for text in headers:
            name, _, value = text.partition("=")
            made.match.headers.add(name=name, exact=value)
    if destinations:
        del made.destinations[:]
        made.destinations.extend(map(_destination, destinations))
    if timeout_s is not None:
        made.timeout.CopyFrom(duration_pb2.Duration(nanos=0))
        made.timeout.FromMicroseconds(int(timeout_s * 1_000_000))
    if roles:
        made.access.roles[:] = roles
    return made, [field.name for field, _ in made.ListFields() if field.name not in OUTPUTS]


@route.command("list")
@click.argument("service")
@as_json
@click.pass_obj
def list_routes(context: Context, /, *, service: str, wants_json: bool) -> None:
    """List the routes of SERVICE."""
    parent = f"services/{service.removeprefix('services/')}"

    async def ask(admin: Admin) -> list[route_pb2.Route]:
        async def fetch(token: str) -> tuple[list[Message], str]:
            request = catalog_service_pb2.ListRoutesRequest(
                parent=parent, page_size=PAGE_SIZE, page_token=token
            )
            answer = await admin.catalog.ListRoutes(request, timeout=CALL_TIMEOUT_S)
            return list(answer.routes), answer.next_page_token

        return [item async for item in pages(fetch) if isinstance(item, route_pb2.Route)]

    found = context.ask(ask)
    if wants_json:
        show_json([as_dict(item) for item in found])
        return
    rows = [
        {
            "name": item.name.rpartition("/")[2],
            "matches": "/".join(filter(None, (item.match.grpc_service, item.match.grpc_method))),
            "headers": len(item.match.headers),
            "to": ", ".join(
                f"{d.service.rpartition('/')[2]}:{d.weight}" for d in item.destinations
            ),
            "revision": item.revision,
        }
        for item in found
    ]
    show_table(rows, ("name", "matches", "headers", "to", "revision"))


@route.command()
@click.argument("name")
@as_json
@click.pass_obj
def get(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show the route NAME."""
    request = catalog_service_pb2.GetRouteRequest(name=_full(name))
    answer = context.ask(lambda admin: admin.catalog.GetRoute(request, timeout=CALL_TIMEOUT_S))
    show_object(answer.route, wants_json=wants_json)


@route.command()
@click.argument("name")
@described
@as_json
@click.pass_obj
def create(context: Context, /, *, name: str, wants_json: bool, **described_by: object) -> None:
    """Create the route NAME."""
    made, _ = build(**described_by)  # type: ignore[arg-type]  # click gives what it was told to
    parent, _, route_id = _full(name).rpartition("/routes/")
    request = catalog_service_pb2.CreateRouteRequest(parent=parent, route_id=route_id, route=made)
    answer = context.ask(lambda admin: admin.catalog.CreateRoute(request, timeout=CALL_TIMEOUT_S))
    show_object(answer.route, wants_json=wants_json)


@route.command()
@click.argument("name")
@click.option("--etag", default="", help="Refuse if it isn't this any more.")
@described
@as_json
@click.pass_obj
def update(
    context: Context,
    /,
    *,
    name: str,
    etag: str,
    wants_json: bool,
    **described_by: object,
) -> None:
    """Change those fields of the route NAME that are given."""
    made, fields = build(**described_by)  # type: ignore[arg-type]  # as in create
    if not fields:
        raise click.UsageError("Nothing to change was given.")
    made.name, made.etag = _full(name), etag or made.etag
    request = catalog_service_pb2.UpdateRouteRequest(
        route=made, update_mask=field_mask_pb2.FieldMask(paths=fields)
    )
    answer = context.ask(lambda admin: admin.catalog.UpdateRoute(request, timeout=CALL_TIMEOUT_S))
    show_object(answer.route, wants_json=wants_json)


@route.command()
@click.argument("name")
@click.option("--etag", default="", help="Refuse if it isn't this any more.")
@as_json
@click.pass_obj
def delete(context: Context, /, *, name: str, etag: str, wants_json: bool) -> None:
    """Delete the route NAME."""
    request = catalog_service_pb2.DeleteRouteRequest(name=_full(name), etag=etag)
    answer = context.ask(lambda admin: admin.catalog.DeleteRoute(request, timeout=CALL_TIMEOUT_S))
    show_object(answer, wants_json=wants_json)


@route.command()
@click.argument("name")
@as_json
@click.pass_obj
def history(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show who changed the route NAME, and how."""
    show_revisions(context, _full(name), wants_json=wants_json)


def _full(name: str) -> str:
    """`services/S/routes/R` for `S/R`, or itself."""
    words = name.split("/")
    match words:
        case ["services", _, "routes", _]:
            return name
        case [service, one] if service and one:
            return f"services/{service}/routes/{one}"
        case _:
            raise MeshctlError(
                f"{name} names no route.",
                "SERVICE/ROUTE, as in notifier/canary",
                exit_code=exits.USAGE,
            )


def _destination(text: str) -> route_pb2.Destination:
    service, _, weight = text.removeprefix("services/").partition(":")
    if weight and not weight.isdigit():
        raise MeshctlError(f"{text} is no destination.", "--to syncd:90", exit_code=exits.USAGE)
    return route_pb2.Destination(service=f"services/{service}", weight=int(weight or 1))
