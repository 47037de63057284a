import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from meshctl.figures import FIGURES, ask


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    answers: list


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.server.answers.pop(0)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return

    def address_string(self):
        return "local"


@pytest.fixture
def telemetry(tmp_path):
    """Answers what a test puts into `answers`, in that order."""
    with Server(str(tmp_path / "http.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.path = tmp_path / "http.sock"
        yield server
        server.shutdown()
        thread.join()


def vector(*values):
    samples = [{"metric": {}, "value": [1, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": samples}})


def test_what_has_no_data_or_no_number_is_left_out(telemetry):
    others = [vector()] * (len(FIGURES) - 3)
    telemetry.answers = [a.encode() for a in (vector("2.5"), vector("NaN"), "{}", *others)]

    assert ask(telemetry.path) == {FIGURES[0].name: 2.5}


def test_what_is_no_json_is_an_error_and_not_a_figure(telemetry):
    telemetry.answers = [b"<html>"]
    with pytest.raises(ValueError, match="Expecting value"):
        ask(telemetry.path)


def test_nobody_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "http.sock")
