"""Descriptor sets: which methods stream, and all of them merged into one for the transcoder."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SETS_REMEMBERED = 512
WELL_KNOWN = ("google/protobuf/", "google/api/", "google/rpc/")
"""Files that everybody imports, each in the version that came with their compiler."""


class InvalidDescriptors(Exception):
    """A descriptor set can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Method:
    """What routing must know of a gRPC method."""

    name: str
    streams: bool
    """In either direction."""

    deprecated: bool = False
    """It says so itself, or its service does."""


@functools.lru_cache(maxsize=SETS_REMEMBERED)
def methods(descriptor_set: bytes) -> Mapping[str, tuple[Method, ...]]:
    """
    Return the methods of each gRPC service in a serialised FileDescriptorSet.

    Raises:
        InvalidDescriptors: It is none.

    """
    found: dict[str, tuple[Method, ...]] = {}
    for file in parse(descriptor_set).file:
        for service in file.service:
            name = f"{file.package}.{service.name}" if file.package else service.name
            found[name] = tuple(
                Method(
                    method.name,
                    method.client_streaming or method.server_streaming,
                    service.options.deprecated or method.options.deprecated,
                )
                for method in service.method
            )
    return found


def merge(sets: Iterable[bytes]) -> bytes:
    """
    Return one FileDescriptorSet with the files of all *sets*, in an order fit for loading.

    Raises:
        InvalidDescriptors: Two of them differ in a file, or the whole doesn't hold together.

    """
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for one in sets:
        for file in parse(one).file:
            file.ClearField("source_code_info")
            known = files.setdefault(file.name, file)
            if known != file:
                files[file.name] = reconciled(known, file)
    result = descriptor_pb2.FileDescriptorSet()
    placed: set[str] = set()
    for name in sorted(files):
        _place(name, files, placed, result)
    pool = descriptor_pool.DescriptorPool()
    for file in result.file:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            raise InvalidDescriptors(f"{file.name} doesn't load: {error}") from None
    return result.SerializeToString(deterministic=True)


def reconciled(
    one: descriptor_pb2.FileDescriptorProto, other: descriptor_pb2.FileDescriptorProto
) -> descriptor_pb2.FileDescriptorProto:
    """
    Return which of two files of the same name to use; the same one in whatever order they come.

    Raises:
        InvalidDescriptors: They differ in more than what compilers write out or don't.

    """
    larger = max(one, other, key=lambda file: (file.ByteSize(), file.SerializeToString()))
    if one.name.startswith(WELL_KNOWN):
        return larger  # Each compiler brings its own version, and they only grow.
    for file in (plain_one := _copy(one), plain_other := _copy(other)):
        for message in file.message_type:
            _forget_json_names(message)
        for extension in file.extension:
            extension.ClearField("json_name")
    if plain_one != plain_other:
        raise InvalidDescriptors(f"{one.name} differs from another service's")
    return larger


def _copy(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto()
    made.CopyFrom(file)
    return made


def _forget_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    """Take away the JSON names that are as derived: protoc writes them out, others don't."""
    for field in (*message.field, *message.extension):
        head, *rest = field.name.split("_")
        if field.json_name == head + "".join(word[:1].upper() + word[1:] for word in rest):
            field.ClearField("json_name")
    for inner in message.nested_type:
        _forget_json_names(inner)


def _place(
    name: str,
    files: Mapping[str, descriptor_pb2.FileDescriptorProto],
    placed: set[str],
    result: descriptor_pb2.FileDescriptorSet,
) -> None:
    if name in placed:
        return
    placed.add(name)
    for dependency in files[name].dependency:
        if dependency not in files:
            raise InvalidDescriptors(f"{name} imports {dependency}, which isn't in the set")
        _place(dependency, files, placed, result)
    result.file.append(files[name])


def parse(descriptor_set: bytes) -> descriptor_pb2.FileDescriptorSet:
    """
    Return a serialised FileDescriptorSet.

    Raises:
        InvalidDescriptors: It is none.

    """
    try:
        return descriptor_pb2.FileDescriptorSet.FromString(descriptor_set)
    except DecodeError:
        raise InvalidDescriptors("it isn't a serialised FileDescriptorSet") from None
