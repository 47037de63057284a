"""OpenAPI documents: paths, schemas that fit what protobuf writes, and what is left out."""

import dataclasses
import json
from datetime import UTC, datetime

import pytest
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from gateway.model import Access, Catalog, Lifecycle, Route, Service
from gateway.reference.comments import comments, summary
from gateway.reference.library import Library
from gateway.reference.openapi import document, entry, index
from gateway.reference.paths import spelt_out
from meshctl.contracts import contract


FIELD = descriptor_pb2.FieldDescriptorProto
SHOP = "shop.v1.Shop"
WELL_KNOWN = (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
SCALARS = {
    name: getattr(FIELD, f"TYPE_{name.upper()}")
    for name in [
        "double",
        "float",
        "int64",
        "uint64",
        "int32",
        "fixed64",
        "fixed32",
        "bool",
        "string",
        "bytes",
        "uint32",
        "sfixed32",
        "sfixed64",
        "sint32",
        "sint64",
    ]
}
MESSAGES = {
    "at": "google.protobuf.Timestamp",
    "lasts": "google.protobuf.Duration",
    "mask": "google.protobuf.FieldMask",
    "struct": "google.protobuf.Struct",
    "value": "google.protobuf.Value",
    "list": "google.protobuf.ListValue",
    "any": "google.protobuf.Any",
    "nothing": "google.protobuf.Empty",
    "wrapped_int64": "google.protobuf.Int64Value",
    "wrapped_bytes": "google.protobuf.BytesValue",
    "wrapped_double": "google.protobuf.DoubleValue",
    "inner": "shop.v1.Item",
}


def shop():
    """A file with a field of each kind, and a method of each kind."""
    file = descriptor_pb2.FileDescriptorProto(
        name="shop/v1/shop.proto",
        package="shop.v1",
        syntax="proto3",
        dependency=[
            "google/api/annotations.proto",
            "google/api/field_behavior.proto",
            *(module.DESCRIPTOR.name for module in WELL_KNOWN),
        ],
    )
    colour = file.enum_type.add(name="Colour")
    for number, name in enumerate(("COLOUR_UNSPECIFIED", "COLOUR_RED")):
        colour.value.add(name=name, number=number)
    item = file.message_type.add(name="Item")
    numbers = iter(range(1, 100))
    for name, kind in SCALARS.items():
        item.field.add(name=f"a_{name}", number=next(numbers), type=kind, label=1)
    for name, kind in MESSAGES.items():
        item.field.add(
            name=name, number=next(numbers), type=FIELD.TYPE_MESSAGE, type_name=f".{kind}", label=1
        )
    item.field.add(
        name="colours",
        number=next(numbers),
        type=FIELD.TYPE_ENUM,
        type_name=".shop.v1.Colour",
        label=3,
    )
    item.oneof_decl.add(name="way")
    for name in ("by_air", "by_sea"):
        item.field.add(
            name=name, number=next(numbers), type=FIELD.TYPE_STRING, label=1, oneof_index=0
        )
    pairs = item.nested_type.add(name="PairsEntry")
    pairs.options.map_entry = True
    pairs.field.add(name="key", number=1, type=FIELD.TYPE_INT64, label=1)
    pairs.field.add(
        name="value", number=2, type=FIELD.TYPE_MESSAGE, type_name=".shop.v1.Item", label=1
    )
    item.field.add(
        name="pairs",
        number=next(numbers),
        type=FIELD.TYPE_MESSAGE,
        type_name=".shop.v1.Item.PairsEntry",
        label=3,
    )
    named = item.field.add(name="name", number=next(numbers), type=FIELD.TYPE_STRING, label=1)
    named.options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.REQUIRED)
    secret = item.field.add(name="secret", number=next(numbers), type=FIELD.TYPE_STRING, label=1)
    secret.options.Extensions[field_behavior_pb2.field_behavior].append(
        field_behavior_pb2.INPUT_ONLY
    )
    service = file.service.add(name="Shop")
    _method(service, "Get", get="/shop/v1/{name=racks/*/items/*}")
    _method(service, "Put", post="/shop/v1/items", body="inner")
    _method(service, "Upload", post="/shop/v1/items:upload", body="*", client=True)
    _method(service, "Watch", get="/shop/v1/items:watch", server=True)
    _method(service, "Chat", client=True, server=True)
    _method(service, "Elsewhere", get="/other/v1/items")
    old = _method(service, "Old", delete="/shop/v1/{name=racks/*}")
    old.options.deprecated = True
    return file


def _method(service, name, *, client=False, server=False, body="", **rule):
    method = service.method.add(
        name=name,
        input_type=".shop.v1.Item",
        output_type=".shop.v1.Item",
        client_streaming=client,
        server_streaming=server,
    )
    for verb, path in rule.items():
        http = method.options.Extensions[annotations_pb2.http]
        setattr(http, verb, path)
        http.body = body
    return method


def described():
    files = descriptor_pb2.FileDescriptorSet()
    seen = set()

    def add(one):
        if one.name not in seen:
            seen.add(one.name)
            for dependency in one.dependencies:
                add(dependency)
            one.CopyToProto(files.file.add())

    for module in (annotations_pb2, field_behavior_pb2, *WELL_KNOWN):
        add(module.DESCRIPTOR)
    files.file.append(shop())
    return files


SERVICE = Service(
    name="services/shop",
    identity="shop",
    grpc_services=(SHOP,),
    json_prefixes=("shop",),
    descriptor_set=described().SerializeToString(),
)


@pytest.fixture(scope="module")
def item():
    pool = descriptor_pool.DescriptorPool()
    for file in described().file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.v1.Item"))


@pytest.fixture(scope="module")
def made():
    return document(SERVICE)


def validator(made):
    schema = {"$ref": "#/components/schemas/shop.v1.Item", "components": made["components"]}
    return Draft202012Validator(schema)


@pytest.mark.parametrize("area", ["gateway", "notify", "sync", "telemetry"])
def test_documents_of_the_mesh_itself_are_openapi_with_comments(area):
    offered = contract(area)
    one = dataclasses.replace(
        SERVICE,
        grpc_services=offered.grpc_services,
        json_prefixes=(area,),
        descriptor_set=offered.descriptor_set,
    )
    found = document(one)
    validate(found, cls=OpenAPIV31SpecValidator)
    operations = [each for path in found["paths"].values() for each in path.values()]
    assert all(each["description"] for each in operations)
    assert len({each["operationId"] for each in operations}) == len(operations)
    validate(index([entry(one)]), cls=OpenAPIV31SpecValidator)


def test_schemas_are_json_schema_and_fit_what_protobuf_writes(made, item):
    validate(made, cls=OpenAPIV31SpecValidator)
    Draft202012Validator.check_schema(made["components"]["schemas"]["shop.v1.Item"])
    message = item(name="x", a_int64=-(2**62), a_uint64=2**63, a_bytes=b"\xff", by_air="y")
    message.a_double = float("inf")
    message.colours.append(1)
    message.pairs[-7].name = "inner"
    message.inner.name = "held"
    message.any.Pack(timestamp_pb2.Timestamp(seconds=1))
    message.at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    message.lasts.FromMilliseconds(-1500)
    message.mask.paths.append("a_b.c")
    message.struct["k"] = [1, None]
    message.value.null_value = 0
    message.list.append("z")
    message.wrapped_int64.value = 5
    message.wrapped_bytes.value = b"q"
    message.wrapped_double.value = 0.5
    written = json_format.MessageToDict(message, always_print_fields_with_no_presence=False)
    validator(made).validate(written)


@given(st.lists(st.sampled_from(sorted(SCALARS)), unique=True), st.data())
def test_schemas_fit_whatever_scalars_there_are(names, data):
    kinds = {
        "bool": st.booleans(),
        "string": st.text(max_size=5),
        "bytes": st.binary(max_size=5),
        "double": st.floats(),
        "float": st.floats(width=32),
    }
    message = _ITEM(name="x")
    for name in names:
        signed = not name.startswith(("uint", "fixed"))
        bits = int(name[-2:]) - signed if name[-2:].isdigit() else 0
        numbers = st.integers(-(2**bits) if signed else 0, 2**bits - 1)
        setattr(message, f"a_{name}", data.draw(kinds.get(name, numbers)))
    _ITEMS.validate(json_format.MessageToDict(message))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": 1},
        {"name": "x", "aInt64": 5},
        {"name": "x", "aInt32": 2**31},
        {"name": "x", "aUint32": -1},
        {"name": "x", "lasts": "5"},
        {"name": "x", "colours": ["COLOUR_BLUE"]},
        {"name": "x", "byAir": "y", "bySea": "z"},
        {"name": "x", "pairs": {"one": {"name": "y"}}},
        {"name": "x", "inner": {}},
        {"name": "x", "any": {}},
    ],
)
def test_what_protobuf_would_not_write_fits_no_schema(made, wrong):
    assert not validator(made).is_valid(wrong)


def test_paths_are_spelt_out_and_say_which_field_they_fill(made):
    get = made["paths"]["/shop/v1/racks/{rack}/items/{item}"]["get"]
    path = [one for one in get["parameters"] if one["in"] == "path"]
    assert [one["name"] for one in path] == ["rack", "item"]
    assert "`racks/{rack}/items/{item}`" in path[0]["description"]


@pytest.mark.parametrize(
    ("template", "text", "names"),
    [
        ("/v1/a", "/v1/a", []),
        ("/v1/{name}", "/v1/{name}", ["name"]),
        ("/v1/{a.b}:go", "/v1/{b}:go", ["b"]),
        ("/v1/{name=cities/*}/{city}", "/v1/cities/{city}/{city_2}", ["city", "city_2"]),
        ("/v1/{name=boxes/*/**}", "/v1/boxes/{box}/{name}", ["box", "name"]),
    ],
)
def test_templates_are_spelt_out(template, text, names):
    path = spelt_out(template)
    assert (path.text, [one.name for one in path.parameters]) == (text, names)


def test_a_query_has_what_is_in_neither_path_nor_body_and_never_itself(made):
    put = made["paths"]["/shop/v1/items"]["post"]
    names = {one["name"] for one in put["parameters"]}
    assert {"aInt64", "at", "mask", "wrappedInt64", "colours"} <= names
    assert not any(one.startswith(("inner", "pairs", "struct", "any")) for one in names)
    watch = made["paths"]["/shop/v1/items:watch"]["get"]
    assert not any(one["name"].startswith("inner.inner") for one in watch["parameters"])


def test_streams_say_so(made):
    watch = made["paths"]["/shop/v1/items:watch"]["get"]
    assert watch["x-streaming"] == "server"
    assert "a line" in watch["responses"]["200"]["description"]
    upload = made["paths"]["/shop/v1/items:upload"]["post"]
    assert upload["requestBody"]["content"]["application/json"]["schema"]["type"] == "array"


def test_methods_without_a_path_that_the_edge_serves_are_there_as_grpc(made):
    for name in ("Chat", "Elsewhere"):
        assert made["paths"][f"/{SHOP}/{name}"]["post"]["x-grpc-only"] is True
    assert "/other/v1/items" not in made["paths"]
    plain = document(dataclasses.replace(SERVICE, json_prefixes=()))
    assert all(path.startswith(f"/{SHOP}/") for path in plain["paths"])


def test_what_is_on_its_way_out_is_marked(made):
    assert made["paths"]["/shop/v1/racks/{rack}"]["delete"]["deprecated"] is True
    assert "deprecated" not in made["paths"]["/shop/v1/items"]["post"]
    ending = Lifecycle(grpc_service=SHOP, sunset_time=datetime(2030, 1, 1, tzinfo=UTC))
    found = document(dataclasses.replace(SERVICE, lifecycles=(ending,)))
    get = found["paths"]["/shop/v1/racks/{rack}/items/{item}"]["get"]
    assert get["x-lifecycle"] == {"sunsetTime": "2030-01-01T00:00:00+00:00"}
    assert set(get["responses"]["200"]["headers"]) == {"deprecation", "sunset", "link"}


def test_who_may_call_is_what_the_routes_say():
    open_get = Route(
        name="services/shop/routes/get",
        grpc_service=SHOP,
        grpc_method="Get",
        access=Access(public=True),
    )
    found = document(dataclasses.replace(SERVICE, access=Access(roles=("clerk",))), (open_get,))
    get = found["paths"]["/shop/v1/racks/{rack}/items/{item}"]["get"]
    assert {} in get["security"]
    assert "x-roles" not in get
    assert found["paths"]["/shop/v1/items"]["post"]["x-roles"] == ["clerk"]


def test_a_service_without_descriptors_is_in_the_index_with_its_names():
    found = entry(dataclasses.replace(SERVICE, descriptor_set=b""))
    assert found["grpcServices"] == [{"name": SHOP}]
    assert document(dataclasses.replace(SERVICE, descriptor_set=b""))["paths"] == {}


def test_comments_are_found_by_the_names_of_what_they_are_about():
    file = shop()
    file.source_code_info.location.add(path=[6, 0, 2, 1], leading_comments=" Puts.\n And more.\n")
    file.source_code_info.location.add(path=[4, 0, 2, 0], trailing_comments=" A double.\n")
    file.source_code_info.location.add(path=[5, 0, 2, 1], leading_comments=" Red.\n")
    assert comments(file) == {
        f"{SHOP}.Put": "Puts.\nAnd more.",
        "shop.v1.Item.a_double": "A double.",
        "shop.v1.Colour.COLOUR_RED": "Red.",
    }
    assert summary("Puts it\nthere. And more.\n\nElse.") == "Puts it\nthere".replace("\n", " ")


async def test_a_document_is_made_once_and_anew_only_when_its_service_differs(monkeypatch):
    from gateway.reference import library as module

    made = []
    monkeypatch.setattr(module, "document", lambda one, _: made.append(one.name) or {})
    other = dataclasses.replace(SERVICE, name="services/other", grpc_services=("a.B",))
    catalog = Catalog.of(1, [SERVICE, other])
    library = Library(lambda: catalog)
    first = await library.document("shop")
    assert await library.document("shop") is first
    catalog = catalog.with_object(2, other.name, dataclasses.replace(other, description="x"))
    assert await library.document("shop") is first
    await library.document("other")
    assert made == ["services/shop", "services/other"]
    assert await library.document("nothing") is None


async def test_the_index_looks_only_at_services_that_differ(monkeypatch):
    from gateway.reference import library as module

    looked = []
    monkeypatch.setattr(module, "entry", lambda one: looked.append(one.name) or {"name": one.id})
    many = [
        dataclasses.replace(SERVICE, name=f"services/s{n}", grpc_services=(f"a.S{n}",))
        for n in range(20)
    ]
    catalog = Catalog.of(1, many)
    library = Library(lambda: catalog)
    before = await library.index()
    looked.clear()
    catalog = catalog.with_object(2, "services/s7", dataclasses.replace(many[7], description="x"))
    await library.index()
    assert looked == ["services/s7"]
    assert len(json.loads(before.plain)["x-services"]) == 20


_ITEMS = validator(document(SERVICE))
_POOL = descriptor_pool.DescriptorPool()
for _file in described().file:
    _POOL.AddSerializedFile(_file.SerializeToString())
_ITEM = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("shop.v1.Item"))
