"""How `meshctl explain` shows an answer, and what it exits with."""

import pytest

from aerofusion.gateway.v1 import explain_service_pb2 as rpc
from meshctl import exits
from meshctl.cli.explain import exit_code, show
from meshctl.cli.main import run


def answer(**fields):
    given = {
        "steps": [
            rpc.ExplainStep(
                stage="filter",
                name="envoy.filters.http.rbac",
                verdict=rpc.ExplainStep.VERDICT_REFUSED,
                says="No policy lets it through.",
                object="services/echo",
                revision=4,
                actor="operator",
            ),
            rpc.ExplainStep(
                stage="filter",
                name="envoy.filters.http.cors",
                verdict=rpc.ExplainStep.VERDICT_IDLE,
                says="It has no origin.",
            ),
        ],
        "answer": rpc.ExpectedAnswer(
            source=rpc.ExpectedAnswer.SOURCE_EDGE,
            http_status=200,
            grpc_status=7,
            details="rbac_access_denied_matched_policy[none]",
        ),
        "certain": True,
        "revision": 9,
    }
    return rpc.ExplainResponse(**{**given, **fields})


SERVED = rpc.ExpectedAnswer(source=rpc.ExpectedAnswer.SOURCE_SERVICE)
PREFLIGHT = rpc.ExpectedAnswer(source=rpc.ExpectedAnswer.SOURCE_EDGE, http_status=200)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 3),
        ({"answer": SERVED, "steps": []}, 0),
        ({"answer": PREFLIGHT, "steps": []}, 0),
        ({"answer": SERVED, "certain": False}, 4),
        ({"answer": rpc.ExpectedAnswer()}, 4),
    ],
)
def test_the_exit_code_says_what_would_become_of_it(fields, code):
    assert exit_code(answer(**fields)) == code


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("/x", "--log-line", "y"),
        ("/x", "-H", "bad"),
        ("/x", "--claims", "7"),
        ("/x", "--body", "z"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(words, tmp_path):
    assert run(["--state", str(tmp_path), "explain", *words]) == exits.USAGE


def test_without_a_mesh_there_is_nobody_to_ask(tmp_path):
    words = ["/pkg.Service/Method", "--claims", "{}"]
    assert run(["--state", str(tmp_path), "explain", *words]) == exits.UNAVAILABLE


def test_a_refusal_names_who_made_it_so(capsys):
    show(answer(), coloured=False, wants_all=False)
    text = capsys.readouterr().out
    assert "✗ filter  rbac  No policy lets it through." in text
    assert "services/echo, revision 4 by operator" in text
    assert "HTTP 200, gRPC PERMISSION_DENIED, from the edge" in text
    assert "cors" not in text
    assert "\x1b[" not in text


def test_all_steps_and_colours_come_when_asked_for(capsys):
    show(answer(), coloured=True, wants_all=True)
    text = capsys.readouterr().out
    assert "cors" in text
    assert "\x1b[" in text
