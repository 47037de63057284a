"""`python -m telemetry serve | check-config`."""

from __future__ import annotations

import sys

from meshkit.main import run_service
from telemetry.app import serve
from telemetry.settings import Settings


if __name__ == "__main__":
    sys.exit(run_service("telemetry", Settings, serve))
