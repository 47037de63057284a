"""What differs between two catalogs, object by object and field by field. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final


if TYPE_CHECKING:
    from gateway.model import Object
    from gateway.store.catalog import Stored

FIELDS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectChange:
    """What becomes of one object: one of the two may be missing, and they are not the same."""

    name: str
    before: Stored | None
    after: Stored | None

    @property
    def action(self) -> str:
        """`create`, `update` or `delete`."""
        if self.before is None:
            return "create"
        return "update" if self.after is not None else "delete"

    def fields(self) -> list[str]:
        """Return the paths of the fields that differ, at most `FIELDS_MAX`."""
        if self.before is None or self.after is None:
            return []
        found = _differing(self.before.value, self.after.value, "")
        return [path for path, _ in zip(found, range(FIELDS_MAX), strict=False)]


def between(before: dict[str, Stored], after: dict[str, Stored]) -> list[ObjectChange]:
    """Return what makes *after* of *before*, both by name, in the order of names."""
    return [
        ObjectChange(name=name, before=before.get(name), after=after.get(name))
        for name in sorted(before.keys() | after.keys())
        if _value(before.get(name)) != _value(after.get(name))
    ]


def _value(stored: Stored | None) -> Object | None:
    return stored.value if stored else None


def _differing(one: Any, other: Any, path: str) -> Iterator[str]:
    if one == other:
        return
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        for field in dataclasses.fields(one):
            inner = f"{path}.{field.name}" if path else field.name
            yield from _differing(getattr(one, field.name), getattr(other, field.name), inner)
    elif isinstance(one, tuple) and isinstance(other, tuple):
        for number in range(max(len(one), len(other))):
            pair = (one[number : number + 1], other[number : number + 1])
            if pair[0] and pair[1]:
                yield from _differing(pair[0][0], pair[1][0], f"{path}[{number}]")
            else:
                yield f"{path}[{number}]"
    else:
        yield path
