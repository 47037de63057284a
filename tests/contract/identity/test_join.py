"""From a one-time token to a certificate, and from certificate to certificate."""

import shutil
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest
from cryptography import x509

from aerofusion.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc
from meshkit.errors import FailedPrecondition, InvalidInput, Unauthenticated, Unavailable
from meshkit.identity import IdentityFolder, JoinFile, SpiffeId, Workload
from meshkit.identity.join import join
from meshkit.identity.material import new_key_pem, signing_request_pem, workload_request_pem
from meshkit.status import from_rpc_error
from tests.fixtures.ca import TestCa


NOTIFIER = SpiffeId("notifier", "0")


async def never(_: float) -> None:
    pytest.fail("a refusal is not tried again")


async def at_once(_: float) -> None:
    """Stands for a pause."""


def request(spiffe_id: SpiffeId = NOTIFIER) -> bytes:
    return workload_request_pem(new_key_pem(), spiffe_id)


async def test_a_process_joins_once_and_is_itself_from_then_on(gateway, tmp_path):
    folder = tmp_path / "notifier"
    settings = gateway.settings(folder, await gateway.ticket("notifier"))

    first = await Workload.open(settings, "notifier")
    second = await Workload.open(settings, "notifier")

    assert first.spiffe_id == NOTIFIER
    assert second.material == first.material, "the stored identity is taken up"
    assert not settings.join_file.exists()
    assert not (folder / "joining.pem").exists()
    assert await gateway.audited() == [
        ("spiffe://aerofusion/operator/local", "identity.create_join_token", str(NOTIFIER)),
        (str(NOTIFIER), "identity.join", str(NOTIFIER)),
    ]


async def test_a_token_works_for_one_key_alone(gateway):
    ticket = await gateway.ticket("notifier")
    mine = request()
    first = await join(ticket, mine, sleep=never)

    with pytest.raises(Unauthenticated) as raised:
        await join(ticket, request(), sleep=never)
    assert raised.value.reason == "JOIN_TOKEN_REFUSED"

    again = await join(ticket, mine, sleep=never)
    assert again == first, "a lost answer can be asked for again"


async def test_a_crash_after_joining_costs_nothing(gateway, tmp_path):
    folder = tmp_path / "notifier"
    ticket = await gateway.ticket("notifier")
    settings = gateway.settings(folder, ticket)
    folder.mkdir(mode=0o700)
    key_pem = new_key_pem()
    (folder / "joining.pem").write_bytes(key_pem)
    issued = await join(ticket, workload_request_pem(key_pem, NOTIFIER), sleep=never)

    workload = await Workload.open(settings, "notifier")

    assert workload.material.chain_pem == issued.chain_pem
    assert workload.material.key_pem == key_pem


@pytest.mark.parametrize("kind", ["unknown", "expired", "empty", "huge"])
async def test_a_token_that_is_not_good_is_refused_and_nothing_is_issued(gateway, kind):
    ticket = await gateway.ticket("notifier")
    if kind == "expired":
        gateway.clock.ahead = timedelta(minutes=6)
    token = {"unknown": "x" * 43, "expired": ticket.token, "empty": "", "huge": "x" * 9_000}[kind]
    forged = JoinFile(
        token=token,
        spiffe_id=ticket.spiffe_id,
        address=ticket.address,
        bundle_pem=ticket.bundle_pem,
    )

    with pytest.raises(Unauthenticated) as raised:
        await join(forged, request(), sleep=never)

    assert raised.value.reason == "JOIN_TOKEN_REFUSED"
    assert await gateway.pool.fetchval("SELECT count(*) FROM certificates") == 0


async def test_a_bad_request_does_not_use_the_token_up(gateway):
    ticket = await gateway.ticket("notifier")

    for bad in (b"", b"no request", request(SpiffeId("gateway"))):
        with pytest.raises(InvalidInput) as raised:
            await join(ticket, bad, sleep=never)
        assert raised.value.reason == "SIGNING_REQUEST_INVALID"

    assert await join(ticket, request(), sleep=never)


async def test_a_process_trusts_only_the_gateway_its_token_file_pins(gateway):
    ticket = await gateway.ticket("notifier")
    elsewhere = JoinFile(
        token=ticket.token,
        spiffe_id=ticket.spiffe_id,
        address=ticket.address,
        bundle_pem=TestCa.create().bundle_pem,
    )

    with pytest.raises(Unavailable):
        await join(elsewhere, request(), sleep=at_once)

    unused = await gateway.pool.fetchval("SELECT count(*) FROM join_tokens WHERE use_time IS NULL")
    assert unused == 1, "the token was shown to nobody"


async def test_joining_waits_for_a_gateway_that_is_starting(gateway, unused_address):
    ticket = await gateway.ticket("notifier")
    early = JoinFile(
        token=ticket.token,
        spiffe_id=ticket.spiffe_id,
        address=unused_address,
        bundle_pem=ticket.bundle_pem,
    )
    pauses = []

    async def record(seconds: float) -> None:
        pauses.append(seconds)

    with pytest.raises(Unavailable):
        await join(early, request(), sleep=record)

    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == 2.0
    assert 20 < sum(pauses) < 60


async def test_the_join_port_serves_nothing_else(gateway):
    ticket = await gateway.ticket("notifier")
    credentials = grpc.ssl_channel_credentials(ticket.bundle_pem)
    options = [("grpc.ssl_target_name_override", "gateway.aerofusion")]
    async with grpc.aio.secure_channel(ticket.address, credentials, options) as channel:
        api = identity_service_pb2_grpc.IdentityServiceStub(channel)
        for call in (
            api.Renew(identity_service_pb2.RenewRequest(csr_pem=request())),
            api.CreateToken(identity_service_pb2.CreateTokenRequest()),
            api.GetJwks(identity_service_pb2.GetJwksRequest()),
            channel.unary_unary("/grpc.health.v1.Health/Check")(b""),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        garbage = channel.unary_unary(f"/{identity_service()}/Join")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await garbage(b"\xff\xff\xff")
    assert from_rpc_error(raised.value).reason == "MESSAGE_MALFORMED"


def identity_service() -> str:
    return identity_service_pb2.DESCRIPTOR.services_by_name["IdentityService"].full_name


async def test_the_main_port_does_not_serve_join(gateway, ca, tmp_path):
    workload = await gateway.joined("notifier", tmp_path / "notifier")
    async with gateway.api(workload) as api:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await api.Join(identity_service_pb2.JoinRequest(token="x", csr_pem=request()))

    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_workload_renews_over_its_own_connection(gateway, tmp_path):
    workload = await gateway.joined("notifier", tmp_path / "notifier")
    before = workload.material

    await workload.renew()

    assert workload.spiffe_id == NOTIFIER
    assert workload.material.key_pem != before.key_pem, "each certificate has its own key"
    assert IdentityFolder(tmp_path / "notifier").read(NOTIFIER) == workload.material
    assert (str(NOTIFIER), "identity.renew", str(NOTIFIER)) in await gateway.audited()
    await workload.renew()


async def test_renewal_runs_by_itself_when_it_is_due(gateway, tmp_path):
    workload = await gateway.joined("notifier", tmp_path / "notifier")
    life = workload.material.not_after - workload.material.not_before
    slept = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            raise Enough

    late = workload.material.not_before + 0.51 * life
    with pytest.raises(Enough):
        await workload.run(
            clock=lambda: datetime.now(UTC) if workload.generation else late,
            sleep=sleep,
            chance=lambda: 0.5,
        )

    assert workload.generation == 1, "it was due, and done"
    assert slept[0] == 60.0, "then the next one is awaited"


async def test_faults_of_the_gateway_delay_renewal_and_do_not_end_it(gateway, tmp_path, ca):
    material = ca.material("notifier")
    calls = []

    async def refuse(_: bytes):
        calls.append(1)
        raise Unavailable("GATEWAY_UNREACHABLE", "away")

    workload = Workload(
        spiffe_id=material.spiffe_id,
        key_pem=material.key_pem,
        chain_pem=material.chain_pem,
        bundle_pem=material.bundle_pem,
        renewer=refuse,
    )
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await workload.run(clock=lambda: material.not_after, sleep=sleep, chance=lambda: 0.0)

    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert len(calls) == 9


async def test_what_a_proxy_passes_on_gets_no_certificate(gateway, tmp_path):
    edge = await gateway.joined("edge", tmp_path / "edge")
    async with gateway.api(edge) as api:
        for header in ("x-forwarded-proto", "x-request-id", "x-envoy-internal"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await api.Renew(
                    identity_service_pb2.RenewRequest(csr_pem=request(edge.spiffe_id)),
                    metadata=[(header, "https")],
                )
            assert from_rpc_error(raised.value).reason == "CALL_NOT_DIRECT"
        assert await api.Renew(identity_service_pb2.RenewRequest(csr_pem=request(edge.spiffe_id)))


async def test_a_public_certificate_needs_names_that_the_join_token_granted(gateway, tmp_path):
    edge = await gateway.joined("edge", tmp_path / "edge", public_names=["localhost", "127.0.0.1"])
    async with gateway.api(edge) as api:
        good = signing_request_pem(new_key_pem(), [x509.DNSName("localhost")])
        response = await api.IssuePublicCertificate(
            identity_service_pb2.IssuePublicCertificateRequest(csr_pem=good)
        )
        leaf = x509.load_pem_x509_certificate(response.certificate.chain_pem)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [name.value for name in names] == ["localhost"]

        bad = signing_request_pem(new_key_pem(), [x509.DNSName("bank.example")])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await api.IssuePublicCertificate(
                identity_service_pb2.IssuePublicCertificateRequest(csr_pem=bad)
            )
    assert from_rpc_error(raised.value).reason == "SIGNING_REQUEST_INVALID"


async def test_the_last_join_decides_which_public_names_are_granted(gateway, tmp_path):
    await gateway.joined("edge", tmp_path / "one", public_names=["localhost"])
    edge = await gateway.joined("edge", tmp_path / "two")
    wanted = signing_request_pem(new_key_pem(), [x509.DNSName("localhost")])
    async with gateway.api(edge) as api:
        with pytest.raises(grpc.aio.AioRpcError):
            await api.IssuePublicCertificate(
                identity_service_pb2.IssuePublicCertificateRequest(csr_pem=wanted)
            )


async def test_a_stored_identity_that_is_nearly_over_is_replaced_by_joining(gateway, tmp_path):
    folder = tmp_path / "notifier"
    old = await gateway.joined("notifier", folder)
    settings = gateway.settings(folder, await gateway.ticket("notifier"))
    late = old.material.not_after - timedelta(minutes=1)

    renewed = await Workload.open(settings, "notifier", clock=lambda: late)

    assert renewed.material != old.material


async def test_a_stored_identity_of_another_mesh_is_replaced_by_joining(gateway, tmp_path):
    folder = tmp_path / "notifier"
    IdentityFolder(folder).write(TestCa.create().material("notifier"))
    settings = gateway.settings(folder, await gateway.ticket("notifier"))

    workload = await Workload.open(settings, "notifier")

    assert workload.material.trusted_by(gateway.identity.enrolment.bundle_pem)


async def test_without_identity_and_token_the_operator_is_told(gateway, tmp_path):
    with pytest.raises(FailedPrecondition) as raised:
        await Workload.open(gateway.settings(tmp_path / "notifier"), "notifier")

    assert raised.value.reason == "IDENTITY_MISSING"


async def test_a_join_file_for_another_process_is_refused(gateway, tmp_path):
    settings = gateway.settings(tmp_path / "syncd", await gateway.ticket("notifier"))

    with pytest.raises(FailedPrecondition) as raised:
        await Workload.open(settings, "syncd")

    assert raised.value.reason == "JOIN_FILE_UNUSABLE"
    assert settings.join_file.exists(), "it may be another process's"


async def test_old_tokens_and_certificates_are_forgotten(gateway):
    await join(await gateway.ticket("notifier"), request(), sleep=never)
    await gateway.identity.enrolment.purge()
    assert await gateway.pool.fetchval("SELECT count(*) FROM certificates") == 1

    gateway.clock.ahead = timedelta(days=32)
    await gateway.identity.enrolment.purge()

    for table in ("certificates", "join_tokens"):
        assert await gateway.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_no_secret_stands_in_the_database(gateway, tmp_path):
    ticket = await gateway.ticket("notifier")
    await Workload.open(gateway.settings(tmp_path / "notifier", ticket), "notifier")
    tables = [
        "join_tokens",
        "certificates",
        "public_name_grants",
        "signing_keys",
        "audit_log",
    ]
    dump = "".join(
        [str(await gateway.pool.fetch(f"SELECT * FROM {table}")) for table in tables]  # noqa: S608
    )

    assert str(NOTIFIER) in dump
    assert ticket.token not in dump
    assert "PRIVATE" not in dump
    assert '"d"' not in dump


async def test_an_authority_that_is_gone_is_a_new_mesh(gateway, tmp_path):
    assert (gateway.folder / "authority" / "root.pem").exists()
    shutil.rmtree(gateway.folder / "authority")
    workload = await gateway.joined("notifier", tmp_path / "notifier")

    assert workload.material.not_after > datetime.now(UTC), "the running gateway keeps its key"
