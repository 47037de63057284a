"""
Envoy's API as protobuf classes, from the descriptors beside this file.

They live in a pool of their own: `google.rpc.Status` and OTLP's messages stand in it too, and
must not meet the ones that the rest of the process has imported.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)


DESCRIPTORS = Path(__file__).with_name("envoy_api.binpb")

DURATIONS_REMEMBERED = 1024

TYPE_URL = "type.googleapis.com/"

_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)

WELL_KNOWN_FILES = {
    message.full_name: module.DESCRIPTOR.name
    for module in _WELL_KNOWN
    for message in module.DESCRIPTOR.message_types_by_name.values()
}
"""Full name of a well-known message to the file that declares it."""


@functools.cache
def pool() -> descriptor_pool.DescriptorPool:
    """Return the pool that knows the API; read at the first use, 10 ms."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    result = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        result.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for file in files.file:
        result.AddSerializedFile(file.SerializeToString())
    return result


@functools.cache
def message_class(name: str) -> Any:
    """Return the class of the message with the full *name*."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def make(name: str, /, **fields: Any) -> Any:
    """
    Return a new message with the full *name*.

    Submessages are given as dicts, durations as `timedelta` (where there are many, as `duration`
    has them), enum values by their label. An empty dict is a submessage that is there.
    """
    return message_class(name)(**fields)


@functools.lru_cache(maxsize=DURATIONS_REMEMBERED)
def duration(value: timedelta) -> Mapping[str, int]:
    """Return a `google.protobuf.Duration` as `make` takes it in half the time of a `timedelta`."""
    return {
        "seconds": value // _SECOND,
        "nanos": value % _SECOND // _MICROSECOND * 1000,
    }


def any_of(name: str, /, **fields: Any) -> dict[str, Any]:
    """Return a `google.protobuf.Any` of a new message, as the dict `make` takes."""
    return pack(make(name, **fields))


def pack(message: Any) -> dict[str, Any]:
    """Return *message* in a `google.protobuf.Any`, as the dict `make` takes."""
    return {
        "type_url": TYPE_URL + message.DESCRIPTOR.full_name,
        "value": message.SerializeToString(deterministic=True),
    }
