"""What the connection manager does with a path before anything looks at it."""

from __future__ import annotations

import re
from typing import Any

from gateway.explain.steps import NotModelled


_PLAIN = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_ESCAPED_SLASH = re.compile(r"%(?:2f|5c)", re.IGNORECASE)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_KEEP_UNCHANGED, _REJECT_REQUEST = 1, 2  # PathWithEscapedSlashesAction
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class PathRefused(Exception):
    """The connection manager answers 400; the message says why."""


def normalised(full_path: str, manager: Any) -> str:
    """
    Return the path that filters and routes see; RFC 3986, 6.2.2.

    Args:
        full_path: With its query, which stays as it is.
        manager: The `HttpConnectionManager`.

    Raises:
        PathRefused: It is refused.
        NotModelled: It has characters that are rewritten in ways unknown here.

    """
    if "#" in full_path:
        raise PathRefused("it has a fragment")
    path, mark, query = full_path.partition("?")
    if _ESCAPED_SLASH.search(path):
        if manager.path_with_escaped_slashes_action == _REJECT_REQUEST:
            raise PathRefused("it has an escaped slash")
        if manager.path_with_escaped_slashes_action != _KEEP_UNCHANGED:
            raise NotModelled("a path with an escaped slash")
    if manager.normalize_path.value:
        path = _canonical(path)
    if manager.merge_slashes:
        path = re.sub("/{2,}", "/", path)
    return path + mark + query


def _canonical(path: str) -> str:
    if not _PLAIN.fullmatch(path):
        raise NotModelled("a path with characters outside RFC 3986")
    if "%00" in path:
        raise NotModelled("a path with a zero byte")
    decoded = _ESCAPE.sub(_unescaped, path)
    made: list[str] = []
    parts = decoded.split("/")[1:]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "..":
            if made:
                made.pop()
        elif part != ".":
            made.append(part)
            continue
        if last:
            made.append("")
    return "/" + "/".join(made)


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in _UNRESERVED else found[0]
