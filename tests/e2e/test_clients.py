"""Every way into the mesh, through the real edge, with and without a valid token."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from joserfc import jwt
from joserfc.jwk import ECKey

from aerofusion.notify.v1 import (
    inbox_service_pb2,
    inbox_service_pb2_grpc,
    notification_service_pb2,
    notification_service_pb2_grpc,
    recipient_service_pb2,
    recipient_service_pb2_grpc,
    template_service_pb2,
    template_service_pb2_grpc,
)
from tests.fixtures.waiting import until


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).parent.parent.parent
LIST = inbox_service_pb2.ListInboxMessagesRequest


@pytest.fixture(scope="module", autouse=True)
def short_lived(mesh, passenger):
    """A token of a second's life, made before all tests: the last one sees it refused."""
    return mesh.token(f"passengers/{passenger}", "passenger", ttl_s=1)


@pytest.fixture(scope="module")
def passenger(mesh):
    """The id of a passenger who has a message in the inbox."""
    service = bearer(mesh.token("services/flightinfo", "service"))
    own = bearer(mesh.token("passengers/traveller", "passenger"))
    template = template_service_pb2.Template(
        name="tenants/nyc/templates/hello",
        default_locale="en",
        contents=[
            template_service_pb2.TemplateContent(
                channel="inapp", locale="en", subject="Hello", text="Welcome."
            )
        ],
    )
    with mesh.edge_channel() as channel:
        recipient_service_pb2_grpc.RecipientServiceStub(channel).UpdateRecipient(
            recipient_service_pb2.UpdateRecipientRequest(
                recipient=recipient_service_pb2.Recipient(
                    name=parent_of("traveller"), channels=["inapp"]
                ),
                allow_missing=True,
            ),
            metadata=service,
            timeout=10,
        )
        template_service_pb2_grpc.TemplateServiceStub(channel).UpdateTemplate(
            template_service_pb2.UpdateTemplateRequest(template=template, allow_missing=True),
            metadata=service,
            timeout=10,
        )
        notification_service_pb2_grpc.NotificationServiceStub(channel).CreateNotification(
            notification_service_pb2.CreateNotificationRequest(
                parent="tenants/nyc",
                notification=notification_service_pb2.Notification(
                    recipients=[parent_of("traveller")], template=template.name
                ),
            ),
            metadata=service,
            timeout=10,
        )
        inbox = inbox_service_pb2_grpc.InboxServiceStub(channel)
        until(
            lambda: (
                inbox.ListInboxMessages(
                    LIST(parent=parent_of("traveller")), metadata=own, timeout=10
                ).messages
            ),
            "a message in the inbox",
        )
    return "traveller"


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def parent_of(passenger):
    return f"tenants/nyc/recipients/{passenger}"


def forged(claims, key_id="forged", **header):
    """A token that looks right in every way but for the key that signed it."""
    key = ECKey.generate_key("P-256")
    return jwt.encode({"alg": "ES256", "typ": "JWT", "kid": key_id, **header}, claims, key)


def claims_of(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def kid_of(token):
    head = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def tokens_nobody_may_use(mesh, passenger):
    """What a caller may try, each with the gRPC code it is answered with."""
    good = mesh.token(f"passengers/{passenger}", "passenger")
    claims = claims_of(good)
    head, body, signature = good.split(".")
    raised = dict(claims, roles=["operator"])
    tampered = base64.urlsafe_b64encode(json.dumps(raised).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return {
        "no token": None,
        "no JWT": "x" * 40,
        "signed by another key": forged(claims, kid_of(good)),
        "unknown key": forged(claims),
        "changed claims": f"{head}.{tampered}.{signature}",
        "unsigned": f"{none}.{body}.",
        "expired": forged(dict(claims, exp=int(time.time()) - 3600), kid_of(good)),
    }


def code_of(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code()


def test_a_grpc_client_with_a_token_reads_its_inbox(mesh, passenger):
    token = mesh.token(f"passengers/{passenger}", "passenger")
    with mesh.edge_channel() as channel:
        stub = inbox_service_pb2_grpc.InboxServiceStub(channel)
        answer = stub.ListInboxMessages(
            LIST(parent=parent_of(passenger)), metadata=bearer(token), timeout=10
        )

    assert answer.messages


def test_a_grpc_client_without_a_good_token_is_refused(mesh, passenger):
    answers = {}
    with mesh.edge_channel() as channel:
        stub = inbox_service_pb2_grpc.InboxServiceStub(channel)
        for what, token in tokens_nobody_may_use(mesh, passenger).items():
            metadata = bearer(token) if token else ()
            answers[what] = code_of(
                lambda metadata=metadata: stub.ListInboxMessages(
                    LIST(parent=parent_of(passenger)), metadata=metadata, timeout=10
                )
            )

    assert set(answers.values()) == {grpc.StatusCode.UNAUTHENTICATED}, answers


def test_a_passenger_may_not_read_anothers_inbox_nor_do_what_operators_do(mesh, passenger):
    token = mesh.token("passengers/p99999", "passenger")
    with mesh.edge_channel() as channel:
        stub = inbox_service_pb2_grpc.InboxServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ListInboxMessages(
                LIST(parent=parent_of(passenger)), metadata=bearer(token), timeout=10
            )
        services = channel.unary_unary("/aerofusion.gateway.v1.CatalogService/ListServices")
        admin = code_of(lambda: services(b"", metadata=bearer(token), timeout=10))

    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert admin is grpc.StatusCode.PERMISSION_DENIED


def test_identity_headers_from_outside_are_worth_nothing(mesh, passenger):
    claims = {"sub": f"passengers/{passenger}", "roles": ["operator"], "tenant": "nyc"}
    header = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with mesh.edge_channel() as channel:
        stub = inbox_service_pb2_grpc.InboxServiceStub(channel)
        code = code_of(
            lambda: stub.ListInboxMessages(
                LIST(parent=parent_of(passenger)),
                metadata=(("x-aerofusion-claims", header),),
                timeout=10,
            )
        )

    assert code is grpc.StatusCode.UNAUTHENTICATED


def test_malformed_protobuf_and_unknown_methods_get_a_clear_answer(mesh, passenger):
    token = mesh.token(f"passengers/{passenger}", "passenger")
    path = "/aerofusion.notify.v1.InboxService/ListInboxMessages"
    with mesh.edge_channel() as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(path)(b"\xff\xff", metadata=bearer(token), timeout=10)
        unknown = code_of(
            lambda: channel.unary_unary("/aerofusion.notify.v1.InboxService/Nothing")(
                b"", metadata=bearer(token), timeout=10
            )
        )
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(raised.value)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert status.details[0].Unpack(info)
    assert info.reason == "MALFORMED_REQUEST"
    assert unknown in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED}


def test_an_oversize_message_is_refused(mesh, passenger):
    token = mesh.token(f"passengers/{passenger}", "passenger")
    path = "/aerofusion.notify.v1.InboxService/ListInboxMessages"
    with mesh.edge_channel() as channel:
        code = code_of(
            lambda: channel.unary_unary(path)(
                b"\x0a" + b"x" * (5 * 1024 * 1024), metadata=bearer(token), timeout=20
            )
        )

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


PROXYLESS = """
import sys, grpc
from aerofusion.notify.v1 import notification_service_pb2 as notify
from aerofusion.notify.v1 import notification_service_pb2_grpc as notify_grpc
with grpc.secure_channel("xds:///notifier", grpc.xds_channel_credentials()) as channel:
    stub = notify_grpc.NotificationServiceStub(channel)
    request = notify.ListNotificationsRequest(parent="tenants/nyc", page_size=1)
    try:
        stub.ListNotifications(request, timeout=15)
    except grpc.RpcError as error:
        print(error.code().name)
    else:
        print("OK")
"""


def proxyless(mesh, certificates):
    """Code of a call to `xds:///notifier` by a client that shows *certificates*."""
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"unix:{mesh.gateway_socket}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "flightinfo-0"},
        "certificate_providers": {
            "default": {"plugin_name": "file_watcher", "config": certificates}
        },
    }
    run = subprocess.run(
        [sys.executable, "-c", PROXYLESS],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return run.stdout.strip()


def files_of(mesh, service):
    current = mesh.state / "identity" / service / "current"
    return {
        "certificate_file": str(current / "cert.pem"),
        "private_key_file": str(current / "key.pem"),
        "ca_certificate_file": str(current / "bundle.pem"),
        "refresh_interval": "600s",
    }


def test_a_proxyless_client_calls_a_service_with_its_certificate(mesh):
    assert proxyless(mesh, files_of(mesh, "flightinfo")) == "OK"


def test_a_proxyless_client_may_do_no_more_than_its_certificate_allows(mesh):
    assert proxyless(mesh, files_of(mesh, "mailsink")) == "PERMISSION_DENIED"


def test_a_proxyless_client_without_a_certificate_gets_nowhere(mesh):
    trusted = files_of(mesh, "flightinfo")
    roots_only = {key: trusted[key] for key in ("ca_certificate_file", "refresh_interval")}

    assert proxyless(mesh, roots_only) == "UNAVAILABLE"


def curl(mesh, path, *words):
    """The HTTP status and the JSON that curl gets from the edge."""
    run = subprocess.run(
        [
            shutil.which("curl") or "curl",
            "--silent",
            "--show-error",
            "--cacert",
            str(mesh.state / "ca.pem"),
            "--write-out",
            "\n%{http_code}",
            *words,
            f"https://{mesh.edge}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    body, _, status = run.stdout.rpartition("\n")
    return int(status), body


def test_curl_with_a_token_reads_json(mesh, passenger):
    token = mesh.token(f"passengers/{passenger}", "passenger")
    path = f"/notify/v1/{parent_of(passenger)}/messages?page_size=1"
    status, body = curl(mesh, path, "--header", f"authorization: Bearer {token}")

    assert status == 200, body
    assert len(json.loads(body)["messages"]) == 1


def test_curl_without_a_good_token_is_refused(mesh, passenger):
    path = f"/notify/v1/{parent_of(passenger)}/messages"
    answers = {}
    for what, token in tokens_nobody_may_use(mesh, passenger).items():
        words = ("--header", f"authorization: Bearer {token}") if token else ()
        answers[what] = curl(mesh, path, *words)[0]

    assert set(answers.values()) == {401}, answers


def browse(mesh, page_port, **task):
    run = subprocess.run(
        [
            "node",
            str(ROOT / "tests/e2e/web/browse.mjs"),
            json.dumps(
                {
                    "edge": f"https://{mesh.edge}",
                    "chromium": shutil.which("chromium"),
                    "pagePort": page_port,
                    **task,
                }
            ),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.browser
def test_a_browser_with_a_token_follows_its_inbox(mesh, passenger, page_port):
    token = mesh.token(f"passengers/{passenger}", "passenger")

    seen = browse(mesh, page_port, token=token, parent=parent_of(passenger), messages=1)

    assert seen["unary"]["code"] == 0, seen
    assert seen["unary"]["count"] >= 1
    assert seen["titles"]


@pytest.mark.browser
def test_a_browser_without_a_token_is_refused_in_words_it_can_read(mesh, passenger, page_port):
    seen = browse(mesh, page_port, token="", parent=parent_of(passenger), messages=1)

    assert seen["unary"]["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0], seen


def test_a_token_runs_out(mesh, passenger, short_lived):
    """The edge allows clocks to differ by 30 s, so the token ended before that."""
    with mesh.edge_channel() as channel:
        stub = inbox_service_pb2_grpc.InboxServiceStub(channel)

        def refused():
            try:
                stub.ListInboxMessages(
                    LIST(parent=parent_of(passenger)), metadata=bearer(short_lived), timeout=10
                )
            except grpc.RpcError as error:
                return error.code()
            return None

        code = until(refused, "the token to run out", within_s=60)

    assert code is grpc.StatusCode.UNAUTHENTICATED
