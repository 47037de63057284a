import io

from rich.console import Console

from meshctl.screen import lines, screen


def part(name, phase="ready", **facts):
    row = {
        "name": name,
        "phase": phase,
        "pid": 7,
        "since_s": 1.0,
        "ready_after_s": 1.0,
        "restarts": 0,
        "problem": "",
        "ports": {},
        "memory_bytes": 50 * 1024 * 1024,
    }
    return {**row, **facts}


def status(*parts, **facts):
    row = {
        "state": "/somewhere/else",
        "pid": 1,
        "ready": all(one["phase"] == "ready" for one in parts),
        "ready_after_s": 4.25,
        "up_s": 75.0,
        "edge": {"url": "https://127.0.0.1:8443", "ca_file": "/somewhere/else/ca.pem"},
        "memory_bytes": 100 * 1024 * 1024,
        "meshctl_memory_bytes": 0,
        "parts": list(parts),
        "figures": {},
        "counts": {},
    }
    return {**row, **facts}


def test_it_tells_what_runs_where_and_how_to_log_in():
    text = "\n".join(lines(status(part("syncd", ports={"grpc": 20123}))))

    assert "syncd  ready  7    50 MiB  grpc 20123" in text
    assert "ready after 4.2 s, up 1 min 15 s, 100 MiB; state in /somewhere/else" in text
    assert "--state /somewhere/else token --subject operators/me --role operator)" in text
    assert "curl --cacert /somewhere/else/ca.pem" in text


def test_what_is_not_ready_is_named_with_its_reason():
    paused = part("notifier", "paused", pid=0, problem="ended with exit code 1", restarts=3)
    text = "\n".join(lines(status(part("syncd"), paused)))

    assert "not ready: notifier" in text
    assert "restarted 3x; ended with exit code 1" in text


def test_a_mesh_that_stops_does_not_complain_of_what_has_stopped():
    stopped = part("notifier", "stopped", pid=0, problem="ended with exit code 0")
    text = "\n".join(lines(status(part("syncd", "stopping"), stopped)))

    assert "stopping, up" in text
    assert "exit code" not in text


def test_counts_are_shown_with_their_rates():
    counted = {"counts": {"mails": 12, "bytes": 0}, "rates": {"mails": 1.5, "bytes": 0.0}}
    text = "\n".join(lines(status(part("syncd"), counts={"mailsink": counted})))

    assert "mailsink   mails 12 (1.5/s), bytes 0" in text


def test_figures_of_telemetry_are_shown_in_the_order_they_come():
    text = "\n".join(lines(status(part("syncd"), figures={"calls/s": 12.345, "series": 700.0})))

    assert "mesh       calls/s 12.3, series 700" in text


def test_a_count_that_is_a_share_of_another_is_left_to_its_own_screen():
    counted = {"counts": {"events": 9, "events_gate": 4, "eventful_days": 1}}
    text = "\n".join(lines(status(part("syncd"), counts={"flightinfo": counted})))

    assert "flightinfo events 9, eventful days 1" in text


def test_the_screen_says_the_same_as_the_lines():
    found = status(part("syncd", ports={"grpc": 20123}), part("nats", "waiting", pid=0))
    drawn = io.StringIO()
    Console(file=drawn, width=200, no_color=True).print(screen(found))

    for words in ("syncd", "grpc 20123", "waiting", "curl --cacert", "Ctrl-C stops all of it."):
        assert words in drawn.getvalue()
