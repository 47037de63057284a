"""`python -m telemetry restore FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from meshkit import logs
from meshkit.errors import MeshError
from meshkit.main import EX_CONFIG, EX_UNAVAILABLE
from meshkit.settings import InvalidSettings, load
from telemetry.backup.restoring import restore
from telemetry.settings import Settings


def main(argv: list[str]) -> int:
    """Restore the backup that *argv* names. Exit codes are those of `serve`."""
    parser = argparse.ArgumentParser(
        prog="telemetry restore",
        description="Make a state folder of a backup; serve it afterwards.",
    )
    parser.add_argument("backup", type=Path, help="folder of the backup")
    backup: Path = parser.parse_args(argv).backup
    try:
        settings = load(Settings, prefix="TELEMETRY", environ=os.environ)
    except InvalidSettings as error:
        sys.stderr.write(f"telemetry: invalid configuration\n{error}\n")
        return EX_CONFIG
    logs.configure("telemetry", settings.log_level)
    try:
        asyncio.run(restore(settings, backup.absolute()))
    except MeshError as error:
        sys.stderr.write(f"telemetry: {error}\n")
        return EX_UNAVAILABLE
    return 0
