"""The demo's processes: `python -m meshctl.demo flightinfo|devices|mailsink [check-config]`."""

from __future__ import annotations

import sys


USAGE = "usage: python -m meshctl.demo flightinfo|devices|mailsink [serve|check-config]"
EX_USAGE = 64  # As in sysexits.h: the command line is at fault.


def main(argv: list[str]) -> int:
    """Run one process; return its exit code, as `meshkit.main.run_service` gives it."""
    # Each process imports only what it needs itself: together they are to stay small.
    match argv:
        case ["flightinfo", *rest]:
            from meshctl.demo.flightinfo import serve  # noqa: PLC0415
            from meshctl.demo.settings import FlightinfoSettings  # noqa: PLC0415
            from meshkit.main import run_service  # noqa: PLC0415

            return run_service("flightinfo", FlightinfoSettings, serve, rest or ["serve"])
        case ["devices", *rest]:
            from meshctl.demo.devices import serve  # noqa: PLC0415
            from meshctl.demo.settings import DevicesSettings  # noqa: PLC0415
            from meshkit.main import run_service  # noqa: PLC0415

            return run_service("devices", DevicesSettings, serve, rest or ["serve"])
        case ["mailsink", *rest]:
            from meshctl.demo.mailsink import serve  # noqa: PLC0415
            from meshctl.demo.settings import MailsinkSettings  # noqa: PLC0415
            from meshkit.main import run_service  # noqa: PLC0415

            return run_service("mailsink", MailsinkSettings, serve, rest or ["serve"])
        case _:
            sys.stderr.write(f"{USAGE}\n")
            return EX_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
