"""
Generates `gen/` from `protos/`: Python with type stubs here, TypeScript by `--web`.

    python protos/generate.py                every area
    python protos/generate.py notify sync    these areas only
    python protos/generate.py --web          TypeScript too (needs `npm ci`)
    python protos/generate.py --check        into a scratch folder; fails if gen/ differs
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2


ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GEN = ROOT / "gen"

GOOGLE = (
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)
"""Files of googleapis-common-protos that our TypeScript needs beside our own."""

FOREIGN = {"telemetry": ("externalscaler/externalscaler.proto",)}
"""Contracts of others that an area serves: Python only, and not ours to lint."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="protos/generate.py")
    parser.add_argument("areas", nargs="*", help="areas under protos/aerofusion; all by default")
    parser.add_argument("--web", action="store_true", help="TypeScript too")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    args = parser.parse_args(argv)
    areas = args.areas or sorted(p.name for p in (PROTOS / "aerofusion").iterdir() if p.is_dir())
    if not args.check:
        generate(GEN, areas, web=args.web)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch), areas, web=args.web)
        stale = differences(Path(scratch), GEN, web=args.web)
    for path in stale:
        print(f"gen/{path}: stale; run `make gen` and commit the result", file=sys.stderr)
    return 1 if stale else 0


def generate(out: Path, areas: list[str], *, web: bool) -> None:
    """Write the generated sources of *areas* under *out*."""
    files = [
        str(path.relative_to(PROTOS))
        for area in areas
        for path in sorted((PROTOS / "aerofusion" / area).rglob("*.proto"))
    ]
    python = out / "python"
    python.mkdir(parents=True, exist_ok=True)
    served = [*files, *(name for area in areas for name in FOREIGN.get(area, ()))]
    protoc(
        served,
        f"--python_out={python}",
        f"--grpc_python_out={python}",
        f"--mypy_out=quiet:{python}",
        f"--mypy_grpc_out=quiet:{python}",
        plugins=("mypy", "mypy_grpc"),
    )
    comments(served, python)
    if web:
        target = out / "web"
        target.mkdir(parents=True, exist_ok=True)
        plugin = ROOT / "node_modules" / ".bin" / "protoc-gen-es"
        protoc(
            [*files, *GOOGLE],
            f"--plugin=protoc-gen-es={plugin}",
            f"--es_out={target}",
            "--es_opt=target=ts,import_extension=js",
        )


def comments(files: list[str], out: Path) -> None:
    """
    Write what stands above the definitions, a SourceCodeInfo for each file, beside its module.

    The API reference quotes it: the modules have none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        protoc(files, "--include_source_info", f"--descriptor_set_out={image}")
        described = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    for file in described.file:
        said = descriptor_pb2.SourceCodeInfo()
        for one in file.source_code_info.location:
            if text := one.leading_comments or one.trailing_comments:
                said.location.add(path=one.path, leading_comments=text)
        written = said.SerializeToString(deterministic=True)
        (out / file.name).with_suffix(".comments.binpb").write_bytes(written)


def protoc(files: list[str], *options: str, plugins: tuple[str, ...] = ()) -> None:
    """Run the protoc of grpcio-tools over *files*, named relative to `protos/`."""
    scripts = Path(sys.executable).parent
    site = sysconfig.get_paths()["purelib"]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTOS}",
        f"-I{site}",
        *(f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in plugins),
        *options,
        *files,
    ]
    subprocess.run(command, check=True, cwd=ROOT)


def differences(fresh: Path, committed: Path, *, web: bool) -> list[str]:
    """Return the files that differ, are missing or are left over, relative to `gen/`."""
    folders = ("python", "web") if web else ("python",)
    found = []
    for folder in folders:
        ours = {p.relative_to(fresh) for p in (fresh / folder).rglob("*") if p.is_file()}
        theirs = {
            p.relative_to(committed)
            for p in (committed / folder).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        }
        found += [
            str(path)
            for path in ours | theirs
            if path not in ours
            or path not in theirs
            or not filecmp.cmp(fresh / path, committed / path, shallow=False)
        ]
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
