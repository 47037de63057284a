"""The `meshctl` command."""

import sys

from meshctl.cli.main import run


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
