"""`python -m bench <area> [--only ROOM ...]`: measure, write `build/bench/`, print a table."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

from bench import areas


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "area", choices=sorted(one.name for one in pkgutil.iter_modules(areas.__path__))
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="ROOM", help="some of its rooms")
    given = parser.parse_args(argv)
    module = importlib.import_module(f"bench.areas.{given.area}")
    report = module.measure(given.only) if given.only else module.measure()
    path = report.write()
    report.show()
    print(f"written to {path}, samples beside it")
    if report.failed:
        print(f"failed: {', '.join(report.failed)}; see above", file=sys.stderr)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
