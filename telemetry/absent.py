"""
Keeps pandas out of the process.

pyarrow imports it, where it is installed, with the first array that it makes or gives back, only to
see whether a value is one of pandas's: half a second within somebody's query, and 47 MB that stay.
Here it is installed for the airport day, and nothing of telemetry's knows it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class _Absent(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("kept out of this process", name=fullname)


def keep_pandas_out() -> None:
    """Have imports of pandas fail from now on."""
    sys.meta_path.insert(0, _Absent())
