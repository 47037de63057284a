"""
The seam between the store and the ClickHouse that keeps it.

`telemetry.store.embedded` is ClickHouse in this process, `telemetry.store.cluster` servers over
HTTP. The statements are the same; what differs is said here.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

NETWORK_ERROR = 210
"""ClickHouse's code for what never came to an answer."""

NO_SPACE = 243
"""... for a disk that is full."""

_CODE = re.compile(r"Code: (\d+)\.")


class StoreFailed(Exception):
    """ClickHouse refused a statement of ours, or is away; `code` is its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """
    Have a file for a `Load` that can't be written be told of as ClickHouse tells of its own.

    Raises:
        StoreFailed: `NO_SPACE`.

    """
    try:
        yield
    except OSError as error:
        raise StoreFailed(NO_SPACE, str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """An INSERT of the rows in a file; every engine reads it from somewhere else."""

    into: str
    """Table and columns."""

    select: Callable[[str], str]
    """The SELECT that makes the rows, from the SQL of its source."""

    path: Path
    format: str
    """ClickHouse's name of the file's format."""

    structure: str
    schema: Path | None = None
    """Protobuf's, whose message is `Export`."""

    settings: Mapping[str, int] = field(default_factory=dict)


class Connection(Protocol):
    """One conversation with ClickHouse; one query at a time. All methods raise `StoreFailed`."""

    def run(self, sql: str, output: str) -> bytes:
        """Run any statement; return its answer in the format *output*."""
        ...

    def read(self, sql: str) -> pa.Buffer:
        """Run a SELECT; return its answer in the format ArrowStream, which nobody may write to."""
        ...

    def insert(self, sql: str) -> int:
        """Run an INSERT; return how many rows it wrote."""
        ...

    def load(self, load: Load) -> int:
        """Insert the rows of a file; return how many there were."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Engine(Protocol):
    """A ClickHouse."""

    parts: str
    """The SQL of all its parts, as of `system.parts`."""

    arrow_packing: str
    """How answers in Arrow are packed: `output_format_arrow_compression_method`."""

    def connect(self) -> Connection:
        """Begin a conversation. Raises StoreFailed."""
        ...

    def prepare(self, first: Connection) -> None:
        """Make the tables. Raises StoreFailed, FailedPrecondition `STORE_TAKEN`."""
        ...

    def local(self, table: str) -> str:
        """Return the name of the table that holds the rows of *table*."""
        ...

    def everywhere(self, table: str) -> str:
        """Return what DELETE and ALTER must name to change the rows of *table*."""
        ...


def schema() -> list[str]:
    """Return the statements that make the tables of one server."""
    text = resources.files("telemetry.store").joinpath("schema.sql").read_text()
    without_comments = re.sub(r"^--.*$", "", text, flags=re.MULTILINE)
    return [one.strip() for one in without_comments.split(";\n") if one.strip()]


def quote(text: str) -> str:
    """Return *text* as an SQL literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def code_in(message: str) -> int | None:
    """Return ClickHouse's code in the text of its error; None: it has none."""
    found = _CODE.search(message)
    return int(found.group(1)) if found else None
