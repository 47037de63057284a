"""EndpointSlices as the API server gave them, and what they come to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.model import Health
from gateway.sources.slices import endpoints_of


RECORDED = Path(__file__).parents[2] / "contract" / "discovery" / "kubernetes"


def slices(*names):
    found = []
    for name in names:
        content = json.loads((RECORDED / f"{name}.json").read_text())
        found += content.get("items", [content])
    return found


def shown(found):
    return {f"{one.address}:{one.port}": (one.health.value, one.locality.zone) for one in found}


def test_conditions_are_health_and_zones_are_localities():
    assert shown(endpoints_of(slices("list"), "grpc")) == {
        "10.244.1.17:8443": ("healthy", "eu-central-1a"),
        "10.244.2.31:8443": ("healthy", "eu-central-1b"),
        "10.244.3.9:8443": ("draining", "eu-central-1c"),
        "10.244.1.40:8443": ("unhealthy", "eu-central-1a"),
        "10.244.2.77:8443": ("unhealthy", ""),
        "fd00:10:244:1::11:8443": ("healthy", "eu-central-1a"),
    }


def test_a_port_is_named_unless_it_is_the_only_one():
    assert endpoints_of(slices("list"), "") == ()
    assert {one.port for one in endpoints_of(slices("list"), "metrics")} == {9090}
    assert endpoints_of(slices("list"), "nothing") == ()
    assert {one.port for one in endpoints_of(slices("slice-one-port"), "")} == {8443}


def test_one_in_two_slices_counts_by_its_better_state():
    moved = slices("slice-one-port")[0]
    stale = json.loads(json.dumps(moved))
    stale["metadata"]["name"] = "shop-old"
    for one in stale["endpoints"]:
        one["conditions"] = {"ready": False, "serving": False, "terminating": False}
    both = endpoints_of([stale, moved], "")
    assert both == endpoints_of([moved], "")
    assert all(one.health is Health.HEALTHY for one in both)


@pytest.mark.parametrize(
    ("conditions", "health"),
    [
        ({}, "healthy"),
        ({"ready": None}, "healthy"),
        ({"ready": True, "serving": True, "terminating": False}, "healthy"),
        ({"ready": False, "serving": True, "terminating": True}, "draining"),
        ({"ready": False, "terminating": True}, "draining"),
        ({"ready": True, "serving": True, "terminating": True}, "draining"),
        ({"ready": False, "serving": False, "terminating": True}, "unhealthy"),
        ({"ready": False, "serving": False, "terminating": False}, "unhealthy"),
    ],
)
def test_every_combination_of_conditions_means_something(conditions, health):
    one = slices("slice-one-port")[0]
    one["endpoints"] = [{"addresses": ["10.0.0.1"], "conditions": conditions}]
    assert [found.health.value for found in endpoints_of([one], "")] == [health]


def test_what_has_no_address_to_call_is_passed_over():
    one = slices("slice-one-port")[0]
    assert endpoints_of([{**one, "addressType": "FQDN"}], "") == ()
    assert endpoints_of([{**one, "endpoints": None}], "") == ()
    assert endpoints_of([{**one, "ports": None}], "") == ()
    assert endpoints_of([{**one, "endpoints": [{"addresses": []}]}], "") == ()


def test_a_gateway_without_such_services_loads_neither_dns_nor_kubernetes():
    program = (
        "import sys, gateway.app;"
        "sys.exit(any(name in sys.modules for name in ('kubernetes_asyncio', 'dns.resolver')))"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=path, check=False).returncode == 0
