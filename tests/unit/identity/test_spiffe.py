import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import InvalidInput, Unauthenticated
from meshkit.identity import SpiffeId, certificate_spiffe_id, peer_spiffe_id


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
URI = x509.UniformResourceIdentifier("spiffe://aerofusion/notifier/0")
DNS = x509.DNSName("notifier.aerofusion")


def certificate(*names: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


@given(NAMES, NAMES)
def test_an_id_reads_back_as_what_was_written(service, replica):
    spiffe_id = SpiffeId(service, replica)

    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id
    assert spiffe_id.dns_name == f"{service}.aerofusion"


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_written_the_same_way(text):
    try:
        written = str(SpiffeId.parse(text))
    except InvalidInput:
        written = text

    assert written == text


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://aerofusion",
        "spiffe://aerofusion/notifier",
        "spiffe://aerofusion/notifier/",
        "spiffe://aerofusion/notifier/0/",
        "spiffe://aerofusion/notifier/0/1",
        "spiffe://aerofusion//0",
        "spiffe://elsewhere/notifier/0",
        "spiffe://aerofusion.evil/notifier/0",
        "SPIFFE://aerofusion/notifier/0",
        "spiffe://aerofusion/Notifier/0",
        "spiffe://aerofusion/notifier/0?x=1",
        "spiffe://aerofusion/notifier/0#x",
        "spiffe://aerofusion/notifier/..",
        "spiffe://aerofusion/%6eotifier/0",
        "spiffe://user@aerofusion/notifier/0",
        " spiffe://aerofusion/notifier/0",
        "spiffe://aerofusion/notifier/0\n",
        "spiffe://aerofusion/" + "n" * 33 + "/0",
        "spiffe://aerofusion/notifier/" + "0" * 200,
    ],
)
def test_anything_but_the_exact_form_is_refused(uri):
    with pytest.raises(InvalidInput) as raised:
        SpiffeId.parse(uri)

    assert raised.value.reason == "SPIFFE_ID_INVALID"


def test_a_certificate_with_one_uri_and_its_dns_name_tells_who_it_is():
    assert certificate_spiffe_id(certificate(URI, DNS)) == SpiffeId("notifier", "0")


@pytest.mark.parametrize(
    "names",
    [
        (),
        (URI,),
        (DNS,),
        (URI, URI, DNS),
        (URI, x509.UniformResourceIdentifier("spiffe://aerofusion/gateway/0"), DNS),
        (URI, x509.UniformResourceIdentifier("https://elsewhere/"), DNS),
        (URI, DNS, DNS),
        (URI, DNS, x509.DNSName("gateway.aerofusion")),
        (URI, DNS, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        (URI, DNS, x509.RFC822Name("a@b")),
        (URI, x509.DNSName("gateway.aerofusion")),
        (x509.UniformResourceIdentifier("https://aerofusion/notifier/0"), DNS),
    ],
    ids=lambda names: "+".join(str(name.value) for name in names) or "none",
)
def test_a_certificate_with_any_other_set_of_names_proves_nothing(names):
    with pytest.raises(Unauthenticated) as raised:
        certificate_spiffe_id(certificate(*names))

    assert raised.value.reason == "PEER_IDENTITY_INVALID"


def test_a_peer_is_who_its_certificate_names():
    pem = certificate(URI, DNS).public_bytes(serialization.Encoding.PEM)

    assert peer_spiffe_id({"x509_pem_cert": [pem]}) == SpiffeId("notifier", "0")


@pytest.mark.parametrize(
    "auth_context",
    [
        {},
        {"x509_pem_cert": []},
        {"x509_pem_cert": [b"no certificate"]},
        {"x509_subject_alternative_name": [b"spiffe://aerofusion/notifier/0"]},
    ],
)
def test_a_peer_without_a_certificate_is_nobody(auth_context):
    with pytest.raises(Unauthenticated):
        peer_spiffe_id(auth_context)
