"""For information: the same one-route change through PyPI's `sovereign`, which polls."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.control_plane import METHODS, free_port, grpc_service, until


if TYPE_CHECKING:
    from bench.report import Report

VERSION = "0.32.12"
ENVIRONMENT = Path("build/sovereign")
"""An environment of its own: what it needs doesn't go with what we need."""

SERVICES = 2_000
CHANGES = 8
REFRESH_S = 1
"""The least it can be told."""

POLL_S = 0.05
CHANGED_WITHIN_S = 60.0

_TEMPLATE = """
resources:
{% for one in instances %}{% if not resource_names or one.name in resource_names %}
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: {{ one.name }}
  virtual_hosts:
  - name: {{ one.name }}
    domains: ["*"]
    routes:
    {% for route in one.routes %}
    - match: {path: "/{{ one.name }}/{{ route.method }}"}
      route: {cluster: "{{ route.cluster }}"}
    {% endfor %}
{% endif %}{% endfor %}
"""


def measure(report: Report) -> None:
    """Take the figures, from the change of its file to the first answer with it; a minute."""
    _install()
    with tempfile.TemporaryDirectory(prefix="bench-sovereign-") as name:
        folder = Path(name)
        with _running(folder) as address:
            taken, answers = [], []
            for change in range(CHANGES):
                began = time.perf_counter()
                _write(folder, cluster=f"changed-{change}")
                while True:
                    asked = time.perf_counter()
                    text = _ask(address)
                    answers.append((time.perf_counter() - asked) * 1000)
                    if f"changed-{change}" in text:
                        break
                    if time.perf_counter() - began > CHANGED_WITHIN_S:
                        raise RuntimeError("sovereign doesn't take the change")
                    time.sleep(POLL_S)  # paces
                taken.append((time.perf_counter() - began) * 1000)
    report.add("sovereign_change_ms", statistics.median(taken), samples=taken)
    report.add("sovereign_poll_ms", statistics.median(answers))


def _install() -> None:
    if not (ENVIRONMENT / "bin" / "sovereign").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        words = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", f"sovereign=={VERSION}"]
        subprocess.run(words, check=True)


def _write(folder: Path, cluster: str) -> None:
    """Make its source hold all services; the first route of the first goes to *cluster*."""
    instances = [
        {
            "name": grpc_service(number),
            "service_clusters": ["*"],
            "routes": [
                {
                    "method": f"Method{method}",
                    "cluster": cluster if (number, method) == (0, 0) else f"s{number:05}",
                }
                for method in range(METHODS)
            ],
        }
        for number in range(SERVICES)
    ]
    scratch = folder / "instances.new"
    scratch.write_text(json.dumps(instances))
    scratch.replace(folder / "instances.json")


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[str]:
    (folder / "routes.j2").write_text(_TEMPLATE)
    _write(folder, cluster="before")
    config: dict[str, Any] = {
        "sources": [
            {"type": "file", "config": {"path": f"file+json://{folder}/instances.json"}},
        ],
        "templates": {"default": {"routes": f"file+jinja://{folder}/routes.j2"}},
        "node_matching": False,
        "sources_refresh_rate": REFRESH_S,
    }
    (folder / "sovereign.yaml").write_text(json.dumps(config))
    port = free_port()
    environment = {
        **os.environ,
        "SOVEREIGN_CONFIG": f"file://{folder}/sovereign.yaml",
        "SOVEREIGN_HOST": "127.0.0.1",
        "SOVEREIGN_PORT": str(port),
        "SOVEREIGN_WORKERS": "1",
    }
    environment.pop("PYTHONPATH", None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [ENVIRONMENT / "bin" / "sovereign"], env=environment, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}/v3/discovery:routes"
        until(lambda: _answers(address), "sovereign")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError):
        return "before" in _ask(address)
    return False


def _ask(address: str) -> str:
    """Ask for the changed route configuration alone, as a client of it would."""
    build = "e54df0/1.40.0/Clean/RELEASE"
    request = {
        "node": {"id": "bench", "cluster": "bench", "build_version": build},
        "version_info": "0",
        "resource_names": [grpc_service(0)],
    }
    posted = urllib.request.Request(  # noqa: S310  our own loopback address
        address, json.dumps(request).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(posted, timeout=30) as answer:  # noqa: S310
        return str(answer.read().decode())
