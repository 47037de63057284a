"""
Objects from YAML or JSON.

A document is one object, or a list of them: its fields as the contract names them, its kind told
by its name.

    name: services/shop
    grpc_services: [shop.v1.Shop]
    endpoints:
      - {address: 192.0.2.7, port: 8443}
    unary_timeout: 5s
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from aerofusion.gateway.v1 import object_pb2
from meshctl import exits
from meshctl.faults import MeshctlError
from meshctl.objects.described import descriptor_set
from meshctl.objects.fields import Reader
from meshctl.objects.names import FORMS, kind_of
from meshctl.objects.places import Place, Problems, nearest


SUFFIXES = (".yaml", ".yml", ".json")
OBJECTS_MAX = 10_000
FILES_MAX = 10_000
TEXT_BYTES_MAX = 64 * 1024 * 1024
NODES_MAX = 2_000_000
STDIN = "(standard input)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file with objects."""

    name: str
    text: str
    folder: Path
    """What paths in it are relative to."""


@dataclass(slots=True, kw_only=True)
class Read:
    """Objects that were read, and where they stand."""

    objects: list[object_pb2.Object] = field(default_factory=list)
    places: dict[str, dict[str, Place]] = field(default_factory=dict)
    """Object's name to path of a field to where it stands."""

    def where(self, name: str, path: str = "") -> Place | None:
        """Where a field of an object stands, or what it is in; None if the object isn't here."""
        places = self.places.get(name)
        return nearest(places, path) or places.get("") if places else None


def sources(paths: Sequence[Path]) -> list[Source]:
    """
    The files that *paths* name: files, folders (with all below), or `-`.

    Raises:
        MeshctlError: One can't be read, or there are none.

    """
    found: list[Source] = []
    total = 0
    for path in paths:
        files = [path] if not path.is_dir() else list(_below(path))
        for file in files:
            source = _source(file)
            total += len(source.text)
            if total > TEXT_BYTES_MAX or len(found) >= FILES_MAX:
                raise MeshctlError(
                    "That is too much to read at once.", "less of it", exit_code=exits.CONFIG
                )
            found.append(source)
    if not found:
        names = ", ".join(map(str, paths))
        raise MeshctlError(f"There is no {', '.join(SUFFIXES)} in {names}.", exit_code=exits.CONFIG)
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in SUFFIXES and path.is_file() and not hidden:
            yield path


def _source(path: Path) -> Source:
    try:
        if str(path) == "-":
            return Source(name=STDIN, text=sys.stdin.read(), folder=Path.cwd())
        return Source(name=str(path), text=path.read_text(), folder=path.parent)
    except OSError as error:
        problem = f"{path}: {os.strerror(error.errno or 0)}"
    except UnicodeDecodeError:
        problem = f"{path} is no text in UTF-8"
    raise MeshctlError(problem, exit_code=exits.CONFIG)


def read(found: Sequence[Source], environment: Mapping[str, str] | None = None) -> Read:
    """
    The objects in *found*.

    Raises:
        MeshctlError: Something in them is wrong; all of it is told, with lines.

    """
    made, problems = Read(), Problems()
    for source in found:
        for node in _documents(source, problems):
            _object(source, node, made, problems, environment or {})
    problems.check()
    if len(made.objects) > OBJECTS_MAX:
        raise MeshctlError(f"A change has at most {OBJECTS_MAX} objects.", exit_code=exits.CONFIG)
    return made


def _documents(source: Source, problems: Problems) -> Iterator[yaml.Node]:
    """The nodes of the objects in a file."""
    text = source.text
    if text.lstrip()[:1] in ("{", "["):
        text = text.replace("\t", " ")  # JSON may be indented by tabs; in YAML they are no blanks.
    try:
        for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
            if _nodes(node) > NODES_MAX:
                problems.add(Place(source.name, 1), "has too many values")
                return
            if isinstance(node, yaml.SequenceNode):
                yield from node.value
            elif not (isinstance(node, yaml.ScalarNode) and node.value in ("", "null")):
                yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problems.add(Place(source.name, line), f"is no YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        problems.add(Place(source.name, 1), f"is no YAML: {str(error).splitlines()[0]}")


def _nodes(root: yaml.Node | None) -> int:
    """How many values *root* comes to with all aliases followed, counted up to `NODES_MAX`."""
    left, count = [root], 0
    while left and count <= NODES_MAX:
        node = left.pop()
        count += 1
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            left += [value for _, value in node.value]
    return count


def _object(
    source: Source,
    node: yaml.Node,
    made: Read,
    problems: Problems,
    environment: Mapping[str, str],
) -> None:
    place = Place(source.name, node.start_mark.line + 1)
    name = _name(node)
    kind = kind_of(name)
    if kind is None:
        what = f"{name} is no name of an object" if name else "an object needs a name"
        problems.add(place, f"{what}: one of {FORMS}")
        return
    if name in made.places:
        problems.add(place, f"{name} is there twice: {made.places[name]['']}, too")
        return
    places: dict[str, Place] = {"": place}
    reader = Reader(
        file=source.name,
        folder=source.folder,
        problems=problems,
        places=places,
        specials={"descriptor_set": descriptor_set},
        environment=environment,
    )
    message = object_pb2.Object()
    content = getattr(message, kind)
    content.SetInParent()
    reader.fill(content, node)
    made.objects.append(message)
    made.places[name] = places


def _name(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "name" and isinstance(value, yaml.ScalarNode):
                return str(value.value)
    return ""
