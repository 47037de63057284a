"""
What a server is asked by reflection, and what its answers come to. No I/O.

Asked for are the files of each gRPC service, then every file that those import and that hasn't
come yet. Versions v1 and v1alpha are one on the wire (grpc: doc/server-reflection.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from gateway.compile.descriptors import InvalidDescriptors, merge, methods
from gateway.validation.service import DESCRIPTOR_SET_BYTES_MAX


FILES_MAX: Final = 1_000
"""Files of one service; more is no API."""


class Conversation:
    """One exchange with one replica: `next` what to send, `hear` what comes, until it is None."""

    def __init__(self, grpc_services: Sequence[str]) -> None:
        """*grpc_services* are the full names to ask for."""
        self._services = tuple(grpc_services)
        self._asks = [ServerReflectionRequest(file_containing_symbol=one) for one in grpc_services]
        self._files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        self._asked: set[str] = set()
        self._bytes = 0

    def next(self) -> bytes | None:
        """Return the next request; None: all has been told."""
        return self._asks.pop(0).SerializeToString() if self._asks else None

    def hear(self, response: bytes) -> None:
        """
        Take an answer.

        Raises:
            InvalidDescriptors: It is none, an error, or more than there may be.

        """
        self._bytes += len(response)
        if self._bytes > DESCRIPTOR_SET_BYTES_MAX:
            raise InvalidDescriptors(f"more than {DESCRIPTOR_SET_BYTES_MAX} bytes")
        try:
            told = ServerReflectionResponse.FromString(response)
            if told.HasField("error_response"):
                raise InvalidDescriptors(f"refused with code {told.error_response.error_code}")
            for one in told.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(one)
                self._files.setdefault(file.name, file)
        except DecodeError:
            raise InvalidDescriptors("the answer isn't reflection's") from None
        if len(self._files) > FILES_MAX:
            raise InvalidDescriptors(f"more than {FILES_MAX} files")
        if not self._asks:
            self._asks = [
                ServerReflectionRequest(file_by_filename=name) for name in self._missing()
            ]

    def _missing(self) -> list[str]:
        """Return the files that others import and that nobody has asked for yet."""
        imported = {name for file in self._files.values() for name in file.dependency}
        missing = sorted(imported - self._files.keys() - self._asked)
        self._asked.update(missing)
        return missing

    def result(self) -> bytes:
        """
        Return what was told as a serialised FileDescriptorSet, in an order fit for loading.

        Raises:
            InvalidDescriptors: It doesn't hold together, or lacks one of the services.

        """
        every = descriptor_pb2.FileDescriptorSet(file=self._files.values())
        merged = merge([every.SerializeToString()])
        lacking = [one for one in self._services if one not in methods(merged)]
        if lacking:
            raise InvalidDescriptors(f"doesn't describe {', '.join(lacking)}")
        return merged
