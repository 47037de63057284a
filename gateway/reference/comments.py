"""What the authors of `.proto` files wrote above their definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FileDescriptorProto,
    )

# Numbers of fields in descriptor.proto, of which paths in SourceCodeInfo consist.
_FILE_MESSAGE: Final = 4
_FILE_ENUM: Final = 5
_FILE_SERVICE: Final = 6
_MESSAGE_FIELD: Final = 2
_MESSAGE_NESTED: Final = 3
_MESSAGE_ENUM: Final = 4
_ENUM_VALUE: Final = 2
_SERVICE_METHOD: Final = 2

_SUMMARY_LENGTH_MAX: Final = 120

Path = tuple[int, ...]


def comments(file: FileDescriptorProto) -> Mapping[str, str]:
    """
    Return the comments of a file by the full name of what they are about.

    Empty for a file without source information, such as those that servers reflect. An enum's
    value is named below its enum here (`pkg.Colour.RED`), not beside it.
    """
    told = {
        tuple(one.path): text
        for one in file.source_code_info.location
        if (text := _plain(one.leading_comments or one.trailing_comments))
    }
    if not told:
        return {}
    return {name: told[path] for name, path in _named(file) if path in told}


def summary(text: str) -> str:
    """Return a comment's first sentence without its full stop; "" if it is too long for one."""
    first = " ".join(text.partition("\n\n")[0].split())
    first = first.partition(". ")[0].removesuffix(".")
    return first if len(first) <= _SUMMARY_LENGTH_MAX else ""


def _plain(comment: str) -> str:
    lines = [line.removeprefix(" ").rstrip() for line in comment.strip("\n").split("\n")]
    return "\n".join(lines).strip()


def _named(file: FileDescriptorProto) -> Iterator[tuple[str, Path]]:
    package = f"{file.package}." if file.package else ""
    for number, service in enumerate(file.service):
        name, path = f"{package}{service.name}", (_FILE_SERVICE, number)
        yield name, path
        for index, method in enumerate(service.method):
            yield f"{name}.{method.name}", (*path, _SERVICE_METHOD, index)
    for number, message in enumerate(file.message_type):
        yield from _in_message(message, package, (_FILE_MESSAGE, number))
    for number, enum in enumerate(file.enum_type):
        yield from _in_enum(enum, package, (_FILE_ENUM, number))


def _in_message(message: DescriptorProto, prefix: str, path: Path) -> Iterator[tuple[str, Path]]:
    name = f"{prefix}{message.name}"
    yield name, path
    for number, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _MESSAGE_FIELD, number)
    for number, inner in enumerate(message.nested_type):
        yield from _in_message(inner, f"{name}.", (*path, _MESSAGE_NESTED, number))
    for number, enum in enumerate(message.enum_type):
        yield from _in_enum(enum, f"{name}.", (*path, _MESSAGE_ENUM, number))


def _in_enum(enum: EnumDescriptorProto, prefix: str, path: Path) -> Iterator[tuple[str, Path]]:
    name = f"{prefix}{enum.name}"
    yield name, path
    for number, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, _ENUM_VALUE, number)
