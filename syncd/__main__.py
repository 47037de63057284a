"""The `syncd` command."""

from __future__ import annotations

import sys

from meshkit.main import run_service
from syncd.app import serve
from syncd.settings import Settings


if __name__ == "__main__":
    sys.exit(run_service("syncd", Settings, serve))
