"""What each service offers, read from the generated contracts: gRPC names and descriptors."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from importlib import resources

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The gRPC services of one area, and all that describes them."""

    area: str
    """Package under `aerofusion`, and first element of its JSON paths."""

    grpc_services: tuple[str, ...]

    descriptor_set: bytes
    """A `FileDescriptorSet` with everything imported; the same bytes each time."""


def contract(area: str) -> Contract:
    """The contract of `aerofusion.<area>.v1`."""
    package = importlib.import_module(f"aerofusion.{area}.v1")
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.endswith("_pb2")
    )
    files = [importlib.import_module(f"{package.__name__}.{name}").DESCRIPTOR for name in names]
    described = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()
    for file in files:
        _add(file, described, seen)
    for one in described.file:
        _tell(one)
    services = sorted(
        service.full_name for file in files for service in file.services_by_name.values()
    )
    return Contract(
        area=area,
        grpc_services=tuple(services),
        descriptor_set=described.SerializeToString(deterministic=True),
    )


def _tell(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Put the comments of a file of ours where the API reference looks for them."""
    folder, _, name = file.name.rpartition("/")
    if not file.name.startswith("aerofusion/"):
        return
    package = resources.files(folder.replace("/", "."))
    said = (package / name.replace(".proto", ".comments.binpb")).read_bytes()
    file.source_code_info.ParseFromString(said)


def _add(file: FileDescriptor, described: descriptor_pb2.FileDescriptorSet, seen: set[str]) -> None:
    """Add *file* after what it imports, as readers of such sets expect."""
    if file.name in seen:
        return
    seen.add(file.name)
    for imported in file.dependencies:
        _add(imported, described, seen)
    file.CopyToProto(described.file.add())
