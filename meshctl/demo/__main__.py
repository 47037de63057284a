"""The demo's processes: `python -m meshctl.demo flightinfo|devices|mailsink [check-config]`."""

from __future__ import annotations

import sys

from meshkit.main import run_service


USAGE = "usage: python -m meshctl.demo flightinfo|devices|mailsink [serve|check-config]"
EX_USAGE = 64  # As in sysexits.h: the command line is at fault.


def main(argv: list[str]) -> int:
    """Run one process; return its exit code, as `meshkit.main.run_service` gives it."""
    name, rest = (argv[0] if argv else ""), argv[1:] or ["serve"]
    if name not in PROCESSES:
        sys.stderr.write(f"{USAGE}\n")
        return EX_USAGE
    return PROCESSES[name](rest)


# Each process imports only what it needs itself: together they are to stay small.


def _flightinfo(rest: list[str]) -> int:
    from meshctl.demo.flightinfo import serve  # noqa: PLC0415
    from meshctl.demo.settings import FlightinfoSettings  # noqa: PLC0415

    return run_service("flightinfo", FlightinfoSettings, serve, rest)


def _devices(rest: list[str]) -> int:
    from meshctl.demo.devices import serve  # noqa: PLC0415
    from meshctl.demo.settings import DevicesSettings  # noqa: PLC0415

    return run_service("devices", DevicesSettings, serve, rest)


def _mailsink(rest: list[str]) -> int:
    from meshctl.demo.mailsink import serve  # noqa: PLC0415
    from meshctl.demo.settings import MailsinkSettings  # noqa: PLC0415

    return run_service("mailsink", MailsinkSettings, serve, rest)


PROCESSES = {"flightinfo": _flightinfo, "devices": _devices, "mailsink": _mailsink}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
