"""A snapshot as messages, each read when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import TYPE_URL, message_class, pool
from gateway.explain.steps import NotModelled
from gateway.xds.resources import BY_KEY


if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.xds.resources import Resource, Snapshot


class Configuration:
    """
    What an edge is told, for reading.

    Args:
        snapshot: Kept, never changed.

    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._read: dict[tuple[str, str, str], Any] = {}
        self._unpacked: dict[tuple[str, bytes], Any] = {}
        self._scopes: dict[str, str] | None = None
        self.derived: dict[object, Any] = {}
        """What filters work out of a resource once, by a key of theirs."""

    def get(self, key: str, name: str) -> Any | None:
        """Return the resource of type *key* with this name; None: there is none."""
        found = self._resources(key).get(name)
        return None if found is None else self._message(key, found)

    def all(self, key: str) -> Iterator[Any]:
        """Yield every resource of type *key*, by name."""
        for _, found in sorted(self._resources(key).items()):
            yield self._message(key, found)

    def version(self, key: str, name: str) -> str:
        """Return the version of a resource; "" without one."""
        found = self._resources(key).get(name)
        return found.version if found else ""

    def scope(self, element: str) -> str | None:
        """Return the route configuration for requests whose scope key is *element*."""
        named = self.get("SRDS", element)
        if named is not None and _key(named) == element:
            return str(named.route_configuration_name)
        if self._scopes is None:
            self._scopes = {}
            for scope in self.all("SRDS"):
                self._scopes[_key(scope)] = scope.route_configuration_name
        return self._scopes.get(element)

    def unpack(self, packed: Any) -> Any:
        """
        Return the message in a `google.protobuf.Any`.

        Raises:
            NotModelled: Of a type that isn't known here.

        """
        key = (packed.type_url, packed.value)
        if key not in self._unpacked:
            name = packed.type_url.removeprefix(TYPE_URL)
            try:
                pool().FindMessageTypeByName(name)
            except KeyError:
                raise NotModelled(name) from None
            self._unpacked[key] = message_class(name).FromString(packed.value)
        return self._unpacked[key]

    def _resources(self, key: str) -> Any:
        return self.snapshot.resources.get(key, {})

    def _message(self, key: str, found: Resource) -> Any:
        where = (key, found.name, found.version)
        if where not in self._read:
            name = BY_KEY[key].type_url.removeprefix(TYPE_URL)
            self._read[where] = message_class(name).FromString(found.value)
        return self._read[where]


def _key(scope: Any) -> str:
    fragments = scope.key.fragments
    if len(fragments) != 1 or scope.on_demand:
        raise NotModelled("a scope key of several fragments, or on demand")
    return str(fragments[0].string_key)
