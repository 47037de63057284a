"""Descriptor sets: from files of the compiler, or from `.proto` sources compiled here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from meshctl.objects.fields import Reader, from_base64


COMPILED_WITHIN_S = 60
SOURCES_MAX = 1_000
COMPILED = (".binpb", ".pb", ".desc")
HOW = "a descriptor set is a .binpb, .proto sources, or {sources: [...], import_path: FOLDER}"


def descriptor_set(reader: Reader, node: yaml.Node) -> bytes:
    """
    What *node* says a service's descriptors are.

        descriptor_set: echo.binpb                       # from protoc or buf, imports included
        descriptor_set: echo.proto                       # compiled here
        descriptor_set: [a.proto, b.proto]
        descriptor_set: {sources: [a/v1/a.proto], import_path: ../protos}

    Raises:
        Exception: `Reader.bad`: it can't be had.

    """
    if isinstance(node, yaml.ScalarNode):
        text = node.value
        if node.tag == "!file" or text.endswith(COMPILED):
            return checked(reader, reader.read(text), text)
        if not text.endswith(".proto"):
            return from_base64(reader.text(node))
    sources, root = _sources(reader, node)
    return compiled(reader, sources, root)


def checked(reader: Reader, content: bytes, name: str) -> bytes:
    """*content*, if it is a descriptor set."""
    try:
        found = descriptor_pb2.FileDescriptorSet.FromString(content)
    except DecodeError:
        found = descriptor_pb2.FileDescriptorSet()
    if not found.file:
        raise reader.bad(f"{name} is no descriptor set; make one with --include_imports")
    return content


def _sources(reader: Reader, node: yaml.Node) -> tuple[list[str], Path]:
    root = reader.folder
    if isinstance(node, yaml.MappingNode):
        fields = {key.value: value for key, value in node.value}
        if set(fields) - {"sources", "import_path"} or "sources" not in fields:
            raise reader.bad(HOW)
        if "import_path" in fields:
            root = reader.folder / reader.text(fields["import_path"])
        node = fields["sources"]
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    sources = [reader.text(item) for item in items]
    if not sources or len(sources) > SOURCES_MAX or not all(s.endswith(".proto") for s in sources):
        raise reader.bad(HOW)
    return sources, root


def compiled(reader: Reader, sources: list[str], root: Path) -> bytes:
    """The descriptors of *sources*, found under *root*, with all they import."""
    if importlib.util.find_spec("grpc_tools") is None:
        raise reader.bad("to compile .proto sources, install grpcio-tools; or give a .binpb")
    included = [Path(), _folder("grpc_tools") / "_proto", _folder("google.api").parents[1]]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.binpb"
        words = [f"-I{path}" for path in included]
        words += ["--include_imports", f"--descriptor_set_out={made}"]
        done = subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", *words, *sources],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=COMPILED_WITHIN_S,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["protoc failed"]
            raise reader.bad("; ".join(said[:3]))
        return made.read_bytes()


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is one of our dependencies"
    places = list(spec.submodule_search_locations or ())
    return Path(places[0])
