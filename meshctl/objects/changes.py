"""What becomes of objects, field by field. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1.revision_pb2 import Revision
from meshctl.objects.names import content_of
from meshctl.objects.write import in_a_line, plain


ACTIONS = {
    Revision.ACTION_CREATE: "create",
    Revision.ACTION_UPDATE: "update",
    Revision.ACTION_DELETE: "delete",
}
UNSET = object()
"""In place of a value that isn't there."""

NOT_SHOWN = object()
"""In place of a value that the gateway doesn't show: secrets and descriptors."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """What becomes of one field; one of the two values may be `UNSET`."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What becomes of one object."""

    name: str
    action: str
    fields: tuple[FieldChange, ...]


def told(change: rpc.ObjectChange) -> Told:
    """*change*, as a person wants to read it."""
    action = ACTIONS[change.action]
    before = plain(content_of(change.before)) if change.HasField("before") else {}
    after = plain(content_of(change.after)) if change.HasField("after") else {}
    for one in (before, after):
        one.pop("name", None)
    fields: tuple[FieldChange, ...] = ()
    if action == "create":
        fields = tuple(FieldChange(name, UNSET, value) for name, value in after.items())
    elif action == "update":
        found = list(differing(before, after, ""))
        roots = {_root(one.path) for one in found}
        # What isn't shown is known by its path only.
        hidden = sorted({_root(path) for path in change.fields} & _HIDDEN - roots)
        fields = (*found, *(FieldChange(path, NOT_SHOWN, NOT_SHOWN) for path in hidden))
    return Told(name=change.name, action=action, fields=fields)


_HIDDEN = frozenset({"descriptor_set", "private_key_pem", "login"})


def _root(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def differing(one: Any, other: Any, path: str) -> Iterator[FieldChange]:
    """What differs between two plain values, down to what has no parts."""
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            inner = f"{path}.{name}" if path else name
            yield from differing(one.get(name, UNSET), other.get(name, UNSET), inner)
    elif isinstance(one, list) and isinstance(other, list):
        yield from _lists(one, other, path)
    else:
        yield FieldChange(path, one, other)


def _lists(one: list[Any], other: list[Any], path: str) -> Iterator[FieldChange]:
    """Items that are the same are found wherever they stand; what stands between them differs."""
    matcher = difflib.SequenceMatcher(
        None, [in_a_line(item) for item in one], [in_a_line(item) for item in other], autojunk=False
    )
    for tag, first, last, start, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        pairs = min(last - first, end - start) if tag == "replace" else 0
        for number in range(pairs):
            yield from differing(
                one[first + number], other[start + number], f"{path}[{first + number}]"
            )
        for number in range(first + pairs, last):
            yield FieldChange(f"{path}[{number}]", one[number], UNSET)
        for number in range(start + pairs, end):
            yield FieldChange(f"{path}[{number}]", UNSET, other[number])


def counted(changes: Sequence[Told]) -> str:
    """How many of what: `2 to create, 1 to delete`."""
    found = [
        f"{number} to {action}"
        for action in ("create", "update", "delete")
        if (number := sum(one.action == action for one in changes))
    ]
    return ", ".join(found) or "nothing to change"
