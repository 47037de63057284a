"""
Many descriptor sets as one, kept so that a change costs what it changes.

`descriptors.merge` reads and loads all there is. Here each set is read once, when it comes; what is
chosen of a file, its place in the order and its symbols are looked at anew only if somebody's
version of that file has come or gone; and only such files are loaded, with what they import and
what imports them. What all come to is the bytes of all files in a row, which is copied, not made.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from google.protobuf import descriptor_pb2, descriptor_pool

from gateway.compile.descriptors import InvalidDescriptors, parse, reconciled


_TAG = b"\x0a"  # FileDescriptorSet.file: field 1, length-delimited.


@dataclass(slots=True)
class Work:
    """What has been done so far, for those who want to know what a change costs."""

    read: int = 0
    """Sets that were parsed."""

    loaded: int = 0
    """Files that were loaded into a pool."""


@dataclass(slots=True)
class _File:
    """All versions of a file, by their bytes, and whose they are; and the one that is used."""

    versions: dict[bytes, set[str]] = field(default_factory=dict)
    used: bytes = b""
    dependencies: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    depth: int = 0
    """Longest way down its imports: a file stands behind all of less depth."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Set:
    """What an owner brought."""

    content: bytes
    files: Mapping[str, bytes]
    services: frozenset[str]


class Merged:
    """One FileDescriptorSet of those of all owners. Its methods may be called by any thread."""

    def __init__(self, known: WeakValueDictionary[bytes, _Set] | None = None) -> None:
        """*known* is another's: what that has read needs no reading here, and no room either."""
        self.work = Work()
        self.known = WeakValueDictionary() if known is None else known
        """What was read, by its content, as long as somebody brings it."""

        self._sets: dict[str, _Set] = {}
        self._files: dict[str, _File] = {}
        self._importers: dict[str, set[str]] = {}
        self._defined: dict[str, str] = {}
        """Symbols, and the file that defines each."""

        self._order: list[tuple[int, str]] = []
        self._lock = threading.Lock()

    def of(self, sets: Mapping[str, bytes]) -> bytes:
        """
        Return one set with the files of all *sets*, in an order fit for loading.

        What it returns depends on *sets* alone, not on what it was asked before.

        Args:
            sets: Serialised FileDescriptorSets by whose they are.

        Raises:
            InvalidDescriptors: Two differ in a file, or the whole doesn't hold together. The next
                call is compared with the one before this.

        """
        with self._lock:
            self._become(sets)
            return b"".join(
                frame for _, name in self._order for frame in _framed(self._files[name].used)
            )

    def check(self, sets: Mapping[str, bytes]) -> None:
        """
        See that *sets* hold together, as `of` does.

        Raises:
            InvalidDescriptors: They don't.

        """
        with self._lock:
            self._become(sets)

    def services(self, owner: str) -> frozenset[str]:
        """Return the full names of the gRPC services that an owner's files define."""
        known = self._sets.get(owner)
        return known.services if known is not None else frozenset()

    def _become(self, sets: Mapping[str, bytes]) -> None:
        changes: dict[str, bytes | None] = {
            owner: content
            for owner, content in sets.items()
            if (known := self._sets.get(owner)) is None or known.content != content
        }
        changes.update((owner, None) for owner in self._sets.keys() - sets.keys())
        self._change(changes)

    def _change(self, changes: Mapping[str, bytes | None]) -> None:
        if not changes:
            return
        before = {owner: self._sets.get(owner) for owner in changes}
        read = {owner: self._read(content) for owner, content in changes.items()}
        touched = self._replace(read)
        try:
            self._settle(touched)
        except InvalidDescriptors:
            # What was there before held together, so going back can't fail.
            self._settle(self._replace(before) | touched, load=False)
            raise

    def _read(self, content: bytes | None) -> _Set | None:
        if content is None:
            return None
        known = self.known.get(content)
        if known is not None:
            return known
        self.work.read += 1
        files: dict[str, bytes] = {}
        services: set[str] = set()
        for file in parse(content).file:
            file.ClearField("source_code_info")
            files[file.name] = file.SerializeToString(deterministic=True)
            services.update(_scoped(file.package, one.name) for one in file.service)
        made = self.known[content] = _Set(content, files, frozenset(services))
        return made

    def _replace(self, sets: Mapping[str, _Set | None]) -> set[str]:
        """Have owners bring these; returns the names of files of which versions came or went."""
        touched: set[str] = set()
        for owner, comes in sets.items():
            went = self._sets.pop(owner, None)
            for name, version in (went.files if went else {}).items():
                if comes is not None and comes.files.get(name) == version:
                    continue
                owners = self._files[name].versions[version]
                owners.discard(owner)
                if not owners:
                    del self._files[name].versions[version]
                    touched.add(name)
            if comes is None:
                continue
            self._sets[owner] = comes
            for name, version in comes.files.items():
                versions = self._files.setdefault(name, _File()).versions
                if version not in versions:
                    touched.add(name)
                versions.setdefault(version, set()).add(owner)
        return touched

    def _settle(self, touched: Iterable[str], *, load: bool = True) -> None:
        """Choose anew what is used of the files *touched*, and see that all holds together."""
        differing = {name: used for name in touched if (used := self._choose(name)) is not None}
        for name in differing:
            self._forget(name)
        for name, used in differing.items():
            self._know(name, used)
        concerned = self._with_importers(differing)
        self._sort(concerned)
        if load:
            self._load(concerned)

    def _choose(self, name: str) -> bytes | None:
        """Return the version to use, b"" if there is none left; None: it is the one that is used."""
        file = self._files.get(name)
        if file is None:
            return None
        versions = sorted(file.versions)
        if not versions:
            return b""
        best = versions[0]
        if len(versions) > 1:
            chosen = descriptor_pb2.FileDescriptorProto.FromString(best)
            for other in versions[1:]:
                chosen = reconciled(chosen, descriptor_pb2.FileDescriptorProto.FromString(other))
            best = chosen.SerializeToString(deterministic=True)
        return None if best == file.used else best

    def _forget(self, name: str) -> None:
        file = self._files[name]
        if not file.used:
            return
        for symbol in file.symbols:
            if self._defined.get(symbol) == name:
                del self._defined[symbol]
        for dependency in file.dependencies:
            self._importers[dependency].discard(name)
        del self._order[bisect.bisect_left(self._order, (file.depth, name))]
        file.used, file.dependencies, file.symbols = b"", (), ()

    def _know(self, name: str, used: bytes) -> None:
        if not used:
            del self._files[name]
            return
        file = self._files[name]
        proto = descriptor_pb2.FileDescriptorProto.FromString(used)
        file.used, file.dependencies = used, tuple(proto.dependency)
        file.symbols, file.depth = tuple(_symbols(proto)), 0
        bisect.insort(self._order, (0, name))
        for dependency in file.dependencies:
            self._importers.setdefault(dependency, set()).add(name)
        for symbol in file.symbols:
            self._defined.setdefault(symbol, name)

    def _with_importers(self, names: Iterable[str]) -> set[str]:
        """Return *names* and all that import them, however far; without those that are gone."""
        found: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self._importers.get(name, ())
        return found & self._files.keys()

    def _sort(self, names: set[str]) -> None:
        """Find the depth of *names* anew; that of all they import else is known."""
        known: dict[str, int] = {}
        for name in sorted(names):
            for one in self._downwards(name, within=names):
                file = self._files[one]
                below = (known.get(d, self._depth(d)) for d in file.dependencies)
                depth = known[one] = max(below, default=-1) + 1
                if depth != file.depth:
                    del self._order[bisect.bisect_left(self._order, (file.depth, one))]
                    bisect.insort(self._order, (depth, one))
                    file.depth = depth

    def _depth(self, name: str) -> int:
        file = self._files.get(name)
        return file.depth if file is not None else 0

    def _downwards(self, name: str, within: set[str] | None = None) -> list[str]:
        """Return what *name* imports and then itself, each behind what it imports."""
        placed: dict[str, None] = {}
        path: list[tuple[str, Iterator[str]]] = [(name, self._imports(name, within))]
        entered = {name}
        while path:
            here, rest = path[-1]
            following = next((one for one in rest if one not in entered), None)
            if following is None:
                placed[here] = None
                path.pop()
            else:
                entered.add(following)
                path.append((following, self._imports(following, within)))
        return list(placed)

    def _imports(self, name: str, within: set[str] | None) -> Iterator[str]:
        file = self._files.get(name)
        for one in file.dependencies if file is not None else ():
            if one in self._files and (within is None or one in within):
                yield one

    def _load(self, names: set[str]) -> None:
        """
        Load *names* and what they import.

        Raises:
            InvalidDescriptors: They lack an import, don't load, or define what others do.

        """
        for name in sorted(names):
            file = self._files[name]
            for dependency in file.dependencies:
                if dependency not in self._files:
                    raise InvalidDescriptors(f"{name} imports {dependency}, which isn't in the set")
            for symbol in file.symbols:
                if self._defined[symbol] != name:
                    other = self._defined[symbol]
                    raise InvalidDescriptors(f"{name} doesn't load: {other} has {symbol}, too")
        pool = descriptor_pool.DescriptorPool()
        loaded: set[str] = set()
        for name in sorted(names):
            for one in self._downwards(name):
                if one in loaded:
                    continue
                loaded.add(one)
                self.work.loaded += 1
                try:
                    pool.AddSerializedFile(self._files[one].used)
                except TypeError as error:
                    raise InvalidDescriptors(f"{one} doesn't load: {error}") from None


def _framed(file: bytes) -> tuple[bytes, bytes]:
    """Return the parts of *file* as an entry of a serialised FileDescriptorSet."""
    size, head = len(file), bytearray(_TAG)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head), file


def _scoped(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Yield what two files can't both define: what is in messages is told by their names."""
    for message in file.message_type:
        yield _scoped(file.package, message.name)
    for enum in file.enum_type:
        yield _scoped(file.package, enum.name)
        # An enum's values are names beside it.
        yield from (_scoped(file.package, value.name) for value in enum.value)
    for service in file.service:
        yield _scoped(file.package, service.name)
    for extension in file.extension:
        yield _scoped(file.package, extension.name)
        yield f"{extension.extendee}#{extension.number}"
    todo = list(file.message_type)
    while todo:
        message = todo.pop()
        todo += message.nested_type
        yield from (f"{one.extendee}#{one.number}" for one in message.extension)
