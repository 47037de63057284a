import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.authority import Authority, SigningRequest, check_public_names
from gateway.identity.files import load_authority, load_seal_key
from meshkit.errors import FailedPrecondition, InvalidInput, Unauthenticated
from meshkit.identity import SpiffeId, certificate_spiffe_id
from meshkit.identity.material import new_key_pem, signing_request_pem, workload_request_pem


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTIFIER = SpiffeId("notifier", "0")
AUTHORITY = Authority.create(now=NOW)


def request(*names: x509.GeneralName) -> SigningRequest:
    return SigningRequest.parse(signing_request_pem(new_key_pem(), list(names)))


def leaf(issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.chain_pem)


def test_a_workload_certificate_names_it_once_and_lives_a_day():
    issued = AUTHORITY.issue_workload(request(), NOTIFIER, now=NOW)

    certificate = leaf(issued)
    assert certificate_spiffe_id(certificate) == NOTIFIER
    assert certificate.not_valid_after_utc == NOW + timedelta(hours=24)
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    certificate.verify_directly_issued_by(AUTHORITY.certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca
    assert issued.serial == f"{certificate.serial_number:x}"


def test_a_certificate_never_outlives_its_root():
    last_hour = AUTHORITY.certificate.not_valid_after_utc - timedelta(hours=1)

    issued = AUTHORITY.issue_workload(request(), NOTIFIER, now=last_hour)

    assert issued.not_after == AUTHORITY.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("gateway.aerofusion")],
        [x509.UniformResourceIdentifier("spiffe://aerofusion/gateway/0")],
        [
            x509.UniformResourceIdentifier(str(NOTIFIER)),
            x509.DNSName(NOTIFIER.dns_name),
            x509.DNSName("gateway.aerofusion"),
        ],
    ],
)
def test_a_request_for_other_names_than_the_workloads_is_refused(names):
    with pytest.raises(InvalidInput) as raised:
        AUTHORITY.issue_workload(request(*names), NOTIFIER, now=NOW)

    assert raised.value.reason == "SIGNING_REQUEST_INVALID"


def test_a_request_for_the_workloads_own_names_is_signed():
    asked = SigningRequest.parse(workload_request_pem(new_key_pem(), NOTIFIER))

    assert certificate_spiffe_id(leaf(AUTHORITY.issue_workload(asked, NOTIFIER, now=NOW)))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused_with_a_reason(data):
    with pytest.raises(InvalidInput) as raised:
        SigningRequest.parse(data)

    assert raised.value.reason == "SIGNING_REQUEST_INVALID"


def signed_by(key) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_only_keys_on_p256_are_signed():
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(InvalidInput):
            SigningRequest.parse(signed_by(key))


def test_a_request_whose_signature_is_another_keys_is_refused():
    good = x509.load_pem_x509_csr(signed_by(ec.generate_private_key(ec.SECP256R1())))
    raw = bytearray(good.public_bytes(serialization.Encoding.DER))
    raw[-1] ^= 1
    try:
        forged = x509.load_der_x509_csr(bytes(raw)).public_bytes(serialization.Encoding.PEM)
    except ValueError:
        pytest.fail("the last byte belongs to the signature's value")

    with pytest.raises(InvalidInput):
        SigningRequest.parse(forged)


def test_a_request_is_bounded_in_size():
    with pytest.raises(InvalidInput):
        SigningRequest.parse(b"x" * 8_193)


def test_a_public_certificate_serves_granted_names_and_is_no_identity():
    localhost, loopback = x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("::1"))
    allowed = frozenset({"localhost", "::1", "edge.example"})

    certificate = leaf(AUTHORITY.issue_public(request(localhost, loopback), allowed, now=NOW))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {name.value for name in names} == {"localhost", ipaddress.ip_address("::1")}
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    with pytest.raises(Unauthenticated):
        certificate_spiffe_id(certificate)


@pytest.mark.parametrize(
    "names", [[], [x509.DNSName("elsewhere.example")], [x509.DNSName("*.example")]]
)
def test_a_public_certificate_for_names_not_granted_is_refused(names):
    with pytest.raises(InvalidInput):
        AUTHORITY.issue_public(request(*names), frozenset({"edge.example"}), now=NOW)


@pytest.mark.parametrize(
    "name",
    [
        "aerofusion",
        "gateway.aerofusion",
        "*.aerofusion",
        "spiffe://aerofusion/gateway/0",
        "Edge.example",
        "edge..example",
        "",
        "a b",
        "x" * 254,
        "bücher.example",
    ],
)
def test_names_of_the_mesh_and_non_names_cannot_be_granted(name):
    with pytest.raises(InvalidInput) as raised:
        check_public_names(frozenset({name}))

    assert raised.value.reason == "PUBLIC_NAME_INVALID"


def test_ordinary_names_can_be_granted_up_to_a_bound():
    check_public_names(frozenset({"localhost", "127.0.0.1", "::1", "*.edge.example"}))
    with pytest.raises(InvalidInput):
        check_public_names(frozenset(f"h{n}.example" for n in range(17)))


def test_an_authority_is_made_once_and_found_again(tmp_path):
    made = load_authority(tmp_path / "authority", now=NOW)
    found = load_authority(tmp_path / "authority", now=NOW + timedelta(days=1))

    assert found.certificate == made.certificate
    assert found.key_pem == made.key_pem
    assert (tmp_path / "authority").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "authority" / "root.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "authority").iterdir()) == ["root.pem"]


def test_further_trusted_roots_join_the_bundle(tmp_path):
    load_authority(tmp_path, now=NOW)
    (tmp_path / "trusted.pem").write_bytes(AUTHORITY.bundle_pem)

    bundle = x509.load_pem_x509_certificates(load_authority(tmp_path, now=NOW).bundle_pem)

    assert AUTHORITY.certificate in bundle
    assert len(bundle) == 2


@pytest.mark.parametrize("damage", ["truncate", "swap", "expire"])
def test_a_damaged_authority_is_an_error_and_never_replaced(tmp_path, damage):
    load_authority(tmp_path, now=NOW)
    path = tmp_path / "root.pem"
    now = NOW
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "swap":
        path.write_bytes(AUTHORITY.key_pem + path.read_bytes().partition(b"KEY-----\n")[2])
        path.write_bytes(AUTHORITY.key_pem + path.read_bytes().rpartition(b"KEY-----\n")[2])
    else:
        now = NOW + timedelta(days=4_000)
    before = path.read_bytes()

    with pytest.raises(FailedPrecondition) as raised:
        load_authority(tmp_path, now=now)

    assert raised.value.reason == "AUTHORITY_UNUSABLE"
    assert path.read_bytes() == before


def test_the_seal_key_is_made_once_and_a_wrong_one_is_an_error(tmp_path):
    key = load_seal_key(tmp_path)

    assert load_seal_key(tmp_path) == key
    assert len(key) == 32
    (tmp_path / "seal.key").write_bytes(b"short")
    with pytest.raises(FailedPrecondition):
        load_seal_key(tmp_path)
