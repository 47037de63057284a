"""Between the contract's messages and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import object_pb2, revision_pb2, route_pb2, service_pb2
from gateway import kinds, model
from gateway.services.generic import fill, to_model
from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from gateway.store.catalog import Revision, Stored

ACTIONS = {
    "create": revision_pb2.Revision.ACTION_CREATE,
    "update": revision_pb2.Revision.ACTION_UPDATE,
    "delete": revision_pb2.Revision.ACTION_DELETE,
}
_OF_MATCH = frozenset({"grpc_service", "grpc_method", "headers"})
"""What a route has in itself, and its message in `match`."""


def service_in(name: str, message: service_pb2.Service) -> model.Service:
    """Return the service *name* as *message* has it, with defaults for what is unset."""
    identity = message.identity or name.partition("/")[2]
    return to_model(model.Service, message, name=name, identity=identity)


def service_out(stored: Stored) -> service_pb2.Service:
    """Return a service for a client."""
    message = service_pb2.Service()
    _fill(message, stored)
    return message


def route_in(name: str, message: route_pb2.Route) -> model.Route:
    """Return the route *name* as *message* has it."""
    return to_model(
        model.Route,
        message,
        name=name,
        grpc_service=message.match.grpc_service,
        grpc_method=message.match.grpc_method,
        headers=tuple(to_model(model.HeaderMatch, one) for one in message.match.headers),
    )


def route_out(stored: Stored) -> route_pb2.Route:
    """Return a route for a client."""
    message = route_pb2.Route()
    _fill(message, stored)
    return message


def object_in(message: object_pb2.Object) -> model.Object:
    """
    Return the object that *message* describes.

    Raises:
        InvalidInput: INVALID_OBJECT, INVALID_NAME.

    """
    key = message.WhichOneof("kind")
    if key is None:
        raise InvalidInput(
            "INVALID_OBJECT",
            "An object needs one of the kinds.",
            field_violations={"kind": "is required"},
        )
    content: Any = getattr(message, key)
    kind = kinds.kind_of(content.name)
    if kind.key != key:
        raise InvalidInput(
            "INVALID_NAME",
            f"{content.name} is the name of a {kind.key}, not of a {key}.",
            field_violations={f"{key}.name": "of another kind"},
        )
    if key == "service":
        return service_in(content.name, content)
    if key == "route":
        return route_in(content.name, content)
    made: model.Object = to_model(kind.cls, content)
    return made


def object_out(stored: Stored) -> object_pb2.Object:
    """Return an object of any kind for a client; secrets are left out."""
    message = object_pb2.Object()
    content = getattr(message, kinds.BY_CLASS[type(stored.value)].key)
    _fill(content, stored)
    return message


def revision_out(revision: Revision) -> revision_pb2.Revision:
    """Return a revision for a client."""
    message = revision_pb2.Revision(
        revision=revision.revision,
        object=revision.object,
        action=ACTIONS[revision.action],
        actor=revision.actor,
    )
    message.create_time.FromDatetime(revision.create_time)
    if revision.stored is not None:
        if isinstance(revision.stored.value, model.Service):
            message.service.CopyFrom(service_out(revision.stored))
        elif isinstance(revision.stored.value, model.Route):
            message.route.CopyFrom(route_out(revision.stored))
        else:
            message.other.CopyFrom(object_out(revision.stored))
    return message


def _fill(message: Any, stored: Stored) -> None:
    value = stored.value
    if isinstance(value, model.Route):
        fill(message, value, but=_OF_MATCH)
        message.match.grpc_service = value.grpc_service
        message.match.grpc_method = value.grpc_method
        for header in value.headers:
            fill(message.match.headers.add(), header)
    else:
        fill(message, value)
    if isinstance(value, model.Certificate):
        message.ClearField("private_key_pem")
    if isinstance(value, model.Host) and value.login is not None:
        message.login.ClearField("client_secret")
    message.etag = stored.etag
    message.revision = stored.revision
    message.create_time.FromDatetime(stored.create_time)
    message.update_time.FromDatetime(stored.update_time)
