"""What belongs to one object that is no service: a row for each kind that has resources of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.compile import certificates, hosts, issuers, logins
from gateway.compile.shared import Part
from gateway.model import client_secret_of, cookie_secret_of


if TYPE_CHECKING:
    from gateway.compile.inputs import Delta, Inputs
    from gateway.model import Host

Name = tuple[str, str]
"""A type's key and the name of a resource."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Resources of the edge that each object of a kind has; a change makes only its own anew."""

    collection: str
    names: Callable[[Any], Iterable[Name]]
    """What an object has."""

    parts: Callable[[Any, Inputs], Iterator[Part]]
    affected: Callable[[Delta], Iterable[str]] = lambda _: ()
    """Names of objects whose resources depend on something else that differs."""

    def concerned(self, delta: Delta) -> list[str]:
        """Return the names of the objects whose resources may differ, in order."""
        if delta.first:
            return sorted(delta.after.catalog.others.get(self.collection, ()))
        own = {name for name in delta.changed if name.startswith(f"{self.collection}/")}
        return sorted(own.union(self.affected(delta)))


def _hosts_affected(delta: Delta) -> Iterator[str]:
    """
    Yield the hosts that depend on what differs.

    Those that send to a service that came to stand outside the mesh, or inside; all of them if
    other issuers' tokens give other roles; those that sign in if tokens come in other headers.
    """
    if issuers.grants_differ(delta):
        yield from delta.after.catalog.hosts
        return
    if logins.token_headers(delta.before.catalog) != logins.token_headers(delta.after.catalog):
        for host in delta.after.catalog.hosts.values():
            if host.login is not None:
                yield host.name
    before, after = delta.before.catalog.services, delta.after.catalog.services
    moved = {
        name
        for name in delta.changed
        if name.startswith("services/")
        and hosts.is_external(before.get(name)) != hosts.is_external(after.get(name))
    }
    if moved:
        for host in delta.after.catalog.hosts.values():
            if moved & hosts.destinations(host):
                yield host.name


def _host_names(host: Host) -> list[Name]:
    names = [("RDS", host.name)]
    if host.login is not None:
        names += [("SDS", client_secret_of(host.name)), ("SDS", cookie_secret_of(host.name))]
    return names


def _host_parts(host: Host, inputs: Inputs) -> Iterator[Part]:
    yield "RDS", hosts.host_routes(host, inputs.catalog)
    for one in logins.login_secrets(host, inputs):
        yield "SDS", one


OWNED: Final = (
    Owned(
        "hosts",
        names=_host_names,
        parts=_host_parts,
        affected=_hosts_affected,
    ),
    Owned(
        "certificates",
        names=lambda certificate: [("SDS", certificate.name)],
        parts=lambda certificate, inputs: (
            ("SDS", one) for one in certificates.certificate_secret(certificate, inputs.unseal)
        ),
    ),
)
