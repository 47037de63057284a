"""`google.api.http` templates as paths of OpenAPI, which knows no patterns in its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathParameter:
    """One `{name}` of a path."""

    name: str
    field: str
    """Path of the field that it fills, or fills a part of."""

    pattern: str
    """How the whole field is put together, such as `tenants/{tenant}`; "": it is the field."""

    rest: bool
    """It may hold slashes."""


@dataclass(frozen=True, slots=True)
class Path:
    """A template, spelt out."""

    text: str
    parameters: tuple[PathParameter, ...]

    @property
    def shape(self) -> str:
        """The path without the parameters' names, which make no difference to OpenAPI."""
        shape = self.text
        for one in self.parameters:
            shape = shape.replace("{" + one.name + "}", "{}", 1)
        return shape

    def fields(self) -> frozenset[str]:
        """Return the paths of the fields that it fills."""
        return frozenset(one.field for one in self.parameters)


def spelt_out(template: str) -> Path:
    """
    Return *template* with a parameter for each of its wildcards.

    `/v1/{name=tenants/*/keys/*}:check` becomes `/v1/tenants/{tenant}/keys/{key}:check`.
    """
    segments: list[str] = []
    found: list[PathParameter] = []
    taken: set[str] = set()
    for part in _parts(template):
        if not part.startswith("{"):
            segments.append(part)
            continue
        closed = part.index("}")
        field, _, pattern = part[1:closed].partition("=")
        inner, names = _inside(field, pattern or "*", taken)
        whole = "/".join(inner)
        found += [
            PathParameter(name, field, whole if whole != "{" + name + "}" else "", rest)
            for name, rest in names
        ]
        segments.append(whole + part[closed + 1 :])
    return Path("/" + "/".join(segments), tuple(found))


def first_element(template: str) -> str:
    """Return the first element of a path, by which the edge finds its area."""
    return template.removeprefix("/").partition("/")[0]


def _parts(template: str) -> Iterator[str]:
    """Yield the segments; a variable with all its pattern is one."""
    part, depth = "", 0
    for letter in template.removeprefix("/"):
        if letter == "/" and not depth:
            yield part
            part = ""
            continue
        depth += {"{": 1, "}": -1}.get(letter, 0)
        part += letter
    yield part


def _inside(field: str, pattern: str, taken: set[str]) -> tuple[list[str], list[tuple[str, bool]]]:
    inner: list[str] = []
    names: list[tuple[str, bool]] = []
    for segment in pattern.split("/"):
        if segment not in ("*", "**"):
            inner.append(segment)
            continue
        literal = bool(inner) and not inner[-1].startswith("{")
        name = _free(_singular(inner[-1]) if literal else field.rpartition(".")[2], taken)
        names.append((name, segment == "**"))
        inner.append("{" + name + "}")
    return inner, names


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def _singular(word: str) -> str:
    """Return the name of one of what a collection's name means."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
