"""The verb `service`: what the edge routes to."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from aerofusion.gateway.v1 import catalog_service_pb2, service_pb2
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


@click.group()
def service() -> None:
    """List, read and change the services that the edge routes to."""


def described(verb: Verb) -> Verb:
    """Give *verb* the options that describe a service."""
    for option in (
        click.option("--description", help="For people."),
        click.option("--endpoint", "endpoints", multiple=True, help="ADDRESS:PORT. Repeatable."),
        click.option(
            "--grpc-service", "grpc_services", multiple=True, help="Full name. Repeatable."
        ),
        click.option("--identity", help="Service part of the SPIFFE id its replicas show."),
        click.option("--json-prefix", "json_prefixes", multiple=True, help="Repeatable."),
        click.option(
            "--descriptor-set",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A FileDescriptorSet with all it imports.",
        ),
        click.option("--role", "roles", multiple=True, help="Who may call it. Repeatable."),
        click.option("--public/--no-public", default=None, help="Whether a token is needed."),
        click.option("--rate-limit", help="BURST:PER_SECOND of each edge."),
        from_file,
    ):
        verb = option(verb)
    return verb


def build(
    file: Path | None,
    *,
    description: str | None,
    endpoints: tuple[str, ...],
    grpc_services: tuple[str, ...],
    identity: str | None,
    json_prefixes: tuple[str, ...],
    descriptor_set: Path | None,
    roles: tuple[str, ...],
    public: bool | None,
    rate_limit: str | None,
) -> tuple[service_pb2.Service, list[str]]:
    """The service that was described, and the names of the fields that were."""
    made = read_object(service_pb2.Service(), file)
    if description is not None:
        made.description = description
    if endpoints:
        del made.endpoints[:]
        made.endpoints.extend(map(_endpoint, endpoints))
    if grpc_services:
        made.grpc_services[:] = grpc_services
    if identity is not None:
        made.identity = identity
    if json_prefixes:
        made.json_prefixes[:] = json_prefixes
    if descriptor_set is not None:
        made.descriptor_set = descriptor_set.read_bytes()
    if roles:
        made.access.roles[:] = roles
    if public is not None:
        made.access.public = public
    if rate_limit is not None:
        made.rate_limit.burst, made.rate_limit.per_second = _pair(rate_limit)
    outputs = {"name", "etag", "create_time", "update_time", "revision"}
    return made, [field.name for field, _ in made.ListFields() if field.name not in outputs]


@service.command("list")
@as_json
@click.pass_obj
def list_services(context: Context, /, *, wants_json: bool) -> None:
    """List all services."""

    async def ask(admin: Admin) -> list[service_pb2.Service]:
        async def fetch(token: str) -> tuple[list[Message], str]:
            request = catalog_service_pb2.ListServicesRequest(page_size=PAGE_SIZE, page_token=token)
            answer = await admin.catalog.ListServices(request, timeout=CALL_TIMEOUT_S)
            return list(answer.services), answer.next_page_token

        return [item async for item in pages(fetch) if isinstance(item, service_pb2.Service)]

    found = context.ask(ask)
    if wants_json:
        show_json([as_dict(item) for item in found])
        return
    rows = [
        {
            "name": item.name.removeprefix("services/"),
            "endpoints": ", ".join(f"{e.address}:{e.port}" for e in item.endpoints),
            "roles": ", ".join(item.access.roles) or ("public" if item.access.public else "any"),
            "json": ", ".join(f"/{prefix}" for prefix in item.json_prefixes),
            "grpc_services": len(item.grpc_services),
            "revision": item.revision,
        }
        for item in found
    ]
    show_table(rows, ("name", "endpoints", "roles", "json", "grpc_services", "revision"))


@service.command()
@click.argument("name")
@as_json
@click.pass_obj
def get(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show the service NAME."""
    request = catalog_service_pb2.GetServiceRequest(name=_full(name))
    answer = context.ask(lambda admin: admin.catalog.GetService(request, timeout=CALL_TIMEOUT_S))
    show_object(answer.service, wants_json=wants_json)


@service.command()
@click.argument("name")
@described
@as_json
@click.pass_obj
def create(context: Context, /, *, name: str, wants_json: bool, **described_by: object) -> None:
    """Create the service NAME."""
    made, _ = build(**described_by)  # type: ignore[arg-type]  # click gives what it was told to
    request = catalog_service_pb2.CreateServiceRequest(
        service_id=name.removeprefix("services/"), service=made
    )
    answer = context.ask(lambda admin: admin.catalog.CreateService(request, timeout=CALL_TIMEOUT_S))
    show_object(answer.service, wants_json=wants_json)


@service.command()
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
    """Change those fields of the service NAME that are given."""
    made, fields = build(**described_by)  # type: ignore[arg-type]  # as in create
    if not fields:
        raise click.UsageError("Nothing to change was given.")
    made.name, made.etag = _full(name), etag or made.etag
    request = catalog_service_pb2.UpdateServiceRequest(
        service=made, update_mask=field_mask_pb2.FieldMask(paths=fields)
    )
    answer = context.ask(lambda admin: admin.catalog.UpdateService(request, timeout=CALL_TIMEOUT_S))
    show_object(answer.service, wants_json=wants_json)


@service.command()
@click.argument("name")
@click.option("--etag", default="", help="Refuse if it isn't this any more.")
@click.option("--force", is_flag=True, help="With its routes.")
@as_json
@click.pass_obj
def delete(context: Context, /, *, name: str, etag: str, force: bool, wants_json: bool) -> None:
    """Delete the service NAME."""
    request = catalog_service_pb2.DeleteServiceRequest(name=_full(name), etag=etag, force=force)
    answer = context.ask(lambda admin: admin.catalog.DeleteService(request, timeout=CALL_TIMEOUT_S))
    show_object(answer, wants_json=wants_json)


@service.command()
@click.argument("name")
@as_json
@click.pass_obj
def history(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show who changed the service NAME, and how."""
    show_revisions(context, _full(name), wants_json=wants_json)


def _full(name: str) -> str:
    return name if name.startswith("services/") else f"services/{name}"


def _endpoint(text: str) -> service_pb2.Endpoint:
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise MeshctlError(
            f"{text} is no endpoint.", "--endpoint 127.0.0.1:8080", exit_code=exits.USAGE
        )
    return service_pb2.Endpoint(address=address.strip("[]"), port=int(port))


def _pair(text: str) -> tuple[int, int]:
    burst, _, rate = text.partition(":")
    if not (burst.isdigit() and rate.isdigit()):
        raise MeshctlError(
            f"{text} is no rate limit.", "--rate-limit 100:50", exit_code=exits.USAGE
        )
    return int(burst), int(rate)
