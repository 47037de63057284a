"""What a status says of the configuration that edges have."""

from aerofusion.gateway.v1 import change_service_pb2 as rpc
from meshctl.cli.running import edge_lines


def test_each_proxy_is_shown_with_its_revision_and_what_it_refuses():
    refusal = rpc.Refusal(
        object="services/shop", field="endpoints[].address", type="EDS", error="malformed"
    )
    edges = [
        rpc.Edge(node="edge", revision=7),
        rpc.Edge(node="edge-2", revision=5),
        rpc.Edge(node="edge-3", revision=7, refusals=[refusal]),
    ]
    assert edge_lines(edges, 7) == [
        "proxy      edge: revision 7, has all",
        "proxy      edge-2: revision 5, 2 behind",
        "proxy      edge-3: revision 7, refuses 1",
        "           refuses services/shop endpoints[].address: malformed",
    ]


def test_that_nobody_is_connected_or_nobody_can_say_is_shown_too():
    assert edge_lines([], 7) == ["proxies    none is connected"]
    assert edge_lines(None, 0) == ["proxies    the gateway can't say what they have"]
