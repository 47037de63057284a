"""No port of the mesh speaks plaintext, and only two speak to strangers."""

import contextlib
import socket
import ssl

import psutil
import pytest


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ANSWER_WITHIN_S = 3.0
STRANGERS_WELCOME = {("envoy", "edge"), ("gateway", "join")}
"""Where a client shows no certificate: users have tokens, newcomers a one-time token."""


@pytest.fixture(scope="module")
def listening(mesh):
    """Every TCP port that a process of the mesh listens on, by part and name."""
    found = {}
    for part in mesh.status()["parts"]:
        names = {port: name for name, port in part["ports"].items()}
        processes = [psutil.Process(part["pid"])]
        with contextlib.suppress(psutil.NoSuchProcess):
            processes += processes[0].children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        port = connection.laddr.port
                        found[part["name"], names.get(port, str(port))] = connection.laddr
    return found


def test_the_ports_that_listen_are_the_ones_the_status_names(mesh, listening):
    told = {(part["name"], name) for part in mesh.status()["parts"] for name in part["ports"]}

    assert set(listening) == told


def test_all_of_them_are_on_the_loopback_interface(listening):
    assert {a.ip.removeprefix("::ffff:") for a in listening.values()} == {"127.0.0.1"}


def test_none_answers_in_plaintext(listening):
    spoken = {}
    for name, address in listening.items():
        with socket.create_connection(address, timeout=ANSWER_WITHIN_S) as plain:
            plain.settimeout(ANSWER_WITHIN_S)
            with contextlib.suppress(OSError):
                plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                spoken[name] = plain.recv(64)

    # A TLS alert (record type 21) is the one thing that may come back.
    assert {n: said for n, said in spoken.items() if said and said[0] != 21} == {}


def welcomes_a_stranger(address):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection(address, timeout=ANSWER_WITHIN_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.settimeout(ANSWER_WITHIN_S)
            # In TLS 1.3 a server refuses a client only after the client's handshake is over.
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            return bool(secure.recv(64))
    except OSError:
        return False


def test_only_two_speak_to_who_shows_no_certificate(listening):
    welcoming = {name for name, address in listening.items() if welcomes_a_stranger(address)}

    assert welcoming == STRANGERS_WELCOME
