"""Objects from files: what is taken, and what is told of what can't be."""

import base64
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerofusion.gateway.v1 import object_pb2
from meshctl import exits
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of, duration_text
from meshctl.objects.names import KINDS, content_of, kind_of, object_of
from meshctl.objects.read import Source, read, sources
from meshctl.objects.write import as_yaml, plain


SHOP = """\
# The shop.
name: services/shop
grpc_services: [shop.v1.Shop]
endpoints:
  - {address: 127.0.0.1, port: 5000}
  - address: "::1"
    port: 5001
unary_timeout: 500ms
load_balancing: {policy: ring_hash, hash_key: {header: x-user}}
discovery: {registry: {}}
"""


def source(text, folder=Path(), name="shop.yaml"):
    return Source(name=name, text=text, folder=folder)


def one(text, **more):
    (found,) = read([source(text)], **more).objects
    return content_of(found)


def problems(text, **more):
    with pytest.raises(MeshctlError) as caught:
        read([source(text, **more)])
    assert caught.value.exit_code == exits.CONFIG
    return str(caught.value).splitlines()


def test_an_object_is_read_by_the_names_of_the_contract():
    shop = one(SHOP)

    assert shop.grpc_services == ["shop.v1.Shop"]
    assert [(e.address, e.port) for e in shop.endpoints] == [("127.0.0.1", 5000), ("::1", 5001)]
    assert shop.unary_timeout.ToMilliseconds() == 500
    assert shop.load_balancing.policy == shop.load_balancing.POLICY_RING_HASH
    assert shop.load_balancing.hash_key.header == "x-user"
    assert shop.discovery.WhichOneof("source") == "registry"


def test_json_is_taken_as_the_api_writes_it_with_tabs_too():
    text = '[\n\t{"name": "services/a", "unary_timeout": "1.500s"},\n\t{"name": "hosts/b"}\n]'
    found = read([source(text, name="a.json")])

    assert [one.WhichOneof("kind") for one in found.objects] == ["service", "host"]
    assert found.objects[0].service.unary_timeout.ToMilliseconds() == 1500


def test_a_file_holds_several_documents_and_each_field_keeps_its_line():
    found = read([source(f"{SHOP}---\nname: services/shop/routes/canary\n")])

    assert [one.WhichOneof("kind") for one in found.objects] == ["service", "route"]
    assert str(found.where("services/shop", "endpoints[1].port")) == "shop.yaml:7"
    assert str(found.where("services/shop", "endpoints[1].weight")) == "shop.yaml:6"
    assert str(found.where("services/shop", "no_such[3].field")) == "shop.yaml:2"
    assert str(found.where("services/shop/routes/canary")) == "shop.yaml:12"
    assert found.where("services/other") is None


def test_everything_that_is_wrong_is_told_at_once_with_its_line():
    found = problems(
        "name: services/shop\n"
        "grpc_service: [a.B]\n"
        "endpoints:\n"
        "  - {address: 127.0.0.1, port: x}\n"
        "  - {address: 127.0.0.1, port: 70000000000}\n"
        "unary_timeout: 5\n"
        "load_balancing: {policy: ring}\n"
        "access: {public: yes}\n"
        "reflect: true\n"
        "reflect: true\n"
        "external_tls: text\n"
        "json_prefixes: shop\n"
        "discovery: {dns: {hostname: a}, registry: {}}\n"
    )

    assert found == [
        "shop.yaml:2: Service has no field grpc_service; did you mean grpc_services?",
        "shop.yaml:4: endpoints[0].port: is a number, not x",
        "shop.yaml:5: endpoints[1].port: is 0 to 4294967295",
        "shop.yaml:6: unary_timeout: is a duration such as 5s, 300ms or 2h, not 5",
        "shop.yaml:7: load_balancing.policy: is one of POLICY_LEAST_REQUEST, POLICY_ROUND_ROBIN,"
        " POLICY_RING_HASH, POLICY_MAGLEV, POLICY_RANDOM, not ring",
        "shop.yaml:8: access.public: is true or false, not yes",
        "shop.yaml:10: reflect is there twice",
        "shop.yaml:11: external_tls needs fields, `name: value`",
        "shop.yaml:12: json_prefixes is a list: `- ...` or `[...]`",
        "shop.yaml:13: discovery.registry and dns exclude each other",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "shop.yaml:2: is no YAML: "),
        ("a: *nothing", "shop.yaml:1: is no YAML: "),
        ("description: x", "shop.yaml:1: an object needs a name: one of services/S, "),
        ("name: service/x", "shop.yaml:1: service/x is no name of an object: one of "),
        ("just text", "shop.yaml:1: an object needs a name"),
        (
            "name: hosts/a\n---\nname: hosts/a",
            "shop.yaml:3: hosts/a is there twice: shop.yaml:1, too",
        ),
        ("name: hosts/a\ndomains: [{a: b}]", "shop.yaml:2: domains[0]: is a single value"),
        (
            "name: hosts/a\ndescription: !shell ls",
            "shop.yaml:2: description: there is no tag !shell",
        ),
        (
            "name: hosts/a\ndescription: !env NO_SUCH",
            "shop.yaml:2: description: the variable NO_SUCH",
        ),
        (
            "name: hosts/a\ndescription: !file no.txt",
            "shop.yaml:2: description: no.txt: No such file",
        ),
        (
            "name: services/a\ndescriptor_set: {}",
            "shop.yaml:2: descriptor_set: a descriptor set is",
        ),
        (
            "name: services/a\ndescriptor_set: '***'",
            "shop.yaml:2: descriptor_set: is neither Base64",
        ),
    ],
)
def test_what_can_not_be_read_is_told_with_its_line(text, told):
    assert problems(text)[0].startswith(told)


def test_aliases_that_multiply_are_refused_before_they_are_followed():
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join(["name: hosts/a", "a0: &a0 [x]", *rows])

    assert problems(text) == ["shop.yaml:1: has too many values"]


def test_texts_are_taken_as_they_stand_whatever_yaml_makes_of_them():
    host = one("name: hosts/a\ndomains: [1.10, no, 0x1F, 2027-01-31]\ndescription: null\n")

    assert host.domains == ["1.10", "no", "0x1F", "2027-01-31"]
    assert host.description == ""


def test_secrets_come_from_files_and_the_environment(tmp_path):
    (tmp_path / "key.pem").write_text("KEY\n")
    text = "name: certificates/a\nchain_pem: !env CHAIN\nprivate_key_pem: !file key.pem\n"
    (found,) = read([source(text, tmp_path)], {"CHAIN": "chain"}).objects

    assert found.certificate.chain_pem == "chain"
    assert found.certificate.private_key_pem == "KEY\n"


PROTO = 'syntax = "proto3"; package a.v1; import "google/api/annotations.proto"; message M {}\n'


@pytest.mark.parametrize(
    "written",
    [
        "descriptor_set: v1/a.proto",
        "descriptor_set: [v1/a.proto]",
        "descriptor_set: {sources: [a.proto], import_path: v1}",
    ],
)
def test_proto_sources_are_compiled_with_all_they_import(tmp_path, written):
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/a.proto").write_text(PROTO)
    (found,) = read([source(f"name: services/a\n{written}\n", tmp_path)]).objects
    files = descriptor_pb2.FileDescriptorSet.FromString(found.service.descriptor_set).file

    assert {"google/api/annotations.proto", "google/protobuf/descriptor.proto"} < {
        one.name for one in files
    }


def test_what_the_compiler_says_of_a_source_is_told_at_the_line_that_names_it(tmp_path):
    (tmp_path / "a.proto").write_text('syntax = "proto3";\nmessage {}\n')
    (found,) = problems("name: services/a\ndescriptor_set: a.proto\n", folder=tmp_path)

    assert found.startswith("shop.yaml:2: descriptor_set: a.proto:2:9: Expected message name.")


def test_a_descriptor_set_may_be_a_file_or_base64_and_nothing_else(tmp_path):
    made = descriptor_pb2.FileDescriptorSet()
    made.file.add(name="a.proto")
    content = made.SerializeToString()
    (tmp_path / "a.binpb").write_bytes(content)
    (tmp_path / "b.binpb").write_bytes(b"\xff")
    inline = base64.b64encode(content).decode()
    for written in ("a.binpb", "!file a.binpb", f"'{inline}'", f"!!binary {inline}"):
        text = f"name: services/a\ndescriptor_set: {written}\n"
        (found,) = read([source(text, tmp_path)]).objects
        assert found.service.descriptor_set == content

    (told,) = problems("name: services/a\ndescriptor_set: b.binpb\n", folder=tmp_path)
    assert "b.binpb is no descriptor set" in told


def test_a_folder_is_read_with_all_below_but_what_is_hidden(tmp_path):
    for name in ("a.yaml", "b/c.yml", "b/d.json", ".git/e.yaml", "f.txt", "g.binpb"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")

    assert [Path(one.name).name for one in sources([tmp_path])] == ["a.yaml", "c.yml", "d.json"]


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(MeshctlError, match=r"There is no \.yaml"):
        sources([tmp_path])


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("5s", 5 * 10**9),
        ("0.5s", 5 * 10**8),
        ("300ms", 3 * 10**8),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("-2s", -2 * 10**9),
        ("1.000000001s", 10**9 + 1),
    ],
)
def test_durations_are_read_in_the_units_people_use(text, nanoseconds):
    assert duration_of(text).ToNanoseconds() == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5d", "-", "1e3s", "9999999999999s", "1s!"])
def test_what_is_no_duration_is_none(text):
    assert duration_of(text) is None


@given(st.integers(-(10**15), 10**15))
def test_a_duration_reads_as_it_was_written(nanoseconds):
    made = duration_of("0s")
    made.FromNanoseconds(nanoseconds)

    assert duration_of(duration_text(made)) == made


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("services/a", "service"),
        ("services/a/routes/b", "route"),
        ("hosts/a", "host"),
        ("routes/a", None),
        ("hosts/a/routes/b", None),
        ("services/a/hosts/b", None),
        ("services/", None),
        ("services", None),
        ("", None),
    ],
)
def test_a_name_tells_the_kind(name, kind):
    assert kind_of(name) == kind


def test_every_kind_of_the_contract_has_a_name():
    fields = object_pb2.Object.DESCRIPTOR.oneofs_by_name["kind"].fields

    assert sorted(KINDS.values()) == sorted(field.name for field in fields)


def values(field):
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Duration":
            return st.builds(lambda n: duration_of(f"{n}ms"), st.integers(0, 10**9))
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return st.builds(
                lambda n: field.message_type._concrete_class(seconds=n), st.integers(0, 4 * 10**9)
            )
        return messages(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([one.number for one in field.enum_type.values if one.number])
    return {
        FieldDescriptor.TYPE_STRING: st.one_of(
            st.text(min_size=1, max_size=20),
            st.sampled_from(["yes", "null", "~", "1.10", "a\nb\n", " a ", "!x", "2027-01-31", "-"]),
        ),
        FieldDescriptor.TYPE_BYTES: st.binary(min_size=1, max_size=40),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_UINT32: st.integers(1, 2**32 - 1),
        FieldDescriptor.TYPE_INT64: st.integers(1, 2**63 - 1),
        FieldDescriptor.TYPE_DOUBLE: st.floats(0, 1e6),
    }[field.type]


@st.composite
def messages(draw, descriptor, name=None):
    made = descriptor._concrete_class()
    oneofs = {}
    for field in descriptor.fields:
        if field.containing_oneof is not None:
            oneofs.setdefault(field.containing_oneof.name, []).append(field)
    chosen = {draw(st.sampled_from(fields)).name for fields in oneofs.values()}
    for field in descriptor.fields:
        if field.containing_oneof is not None and field.name not in chosen:
            continue
        if field.name == "name" and name is not None:
            made.name = name
        elif draw(st.booleans()):
            if field.is_repeated:
                getattr(made, field.name).extend(draw(st.lists(values(field), max_size=3)))
            elif field.message_type is not None:
                getattr(made, field.name).CopyFrom(draw(values(field)))
            else:
                setattr(made, field.name, draw(values(field)))
    return made


@st.composite
def objects(draw):
    collection, kind = draw(st.sampled_from(sorted(KINDS.items())))
    name = "services/a/routes/b" if kind == "route" else f"{collection}/a"
    field = object_pb2.Object.DESCRIPTOR.fields_by_name[kind]
    return draw(messages(field.message_type, name))


@pytest.mark.timeout(300)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(objects(), min_size=1, max_size=3, unique_by=lambda one: one.name))
def test_what_is_written_reads_as_it_was(contents):
    text = "---\n".join(as_yaml(plain(one)) for one in contents)
    found = read([source(text)]).objects

    assert [plain(content_of(one)) for one in found] == [plain(one) for one in contents]
    assert [one.WhichOneof("kind") for one in found] == [
        object_of(one).WhichOneof("kind") for one in contents
    ]
