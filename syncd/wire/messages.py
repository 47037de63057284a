"""Contract messages to and from what syncd speaks of."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import space_pb2 as spaces
from meshkit.errors import InvalidInput
from syncd import integrity, values
from syncd.model import (
    Access,
    Batch,
    DeleteRecord,
    Field,
    Head,
    MergePolicy,
    Mutation,
    Operation,
    Result,
    Schema,
    SetFields,
    Space,
    UnknownOperation,
)
from syncd.values import Kind


NANOSECONDS = 1_000_000_000
KINDS = tuple(int(kind) for kind in Kind if kind is not Kind.NULL)
POLICIES = tuple(int(policy) for policy in MergePolicy)


def value_from(message: frames.Value) -> bytes:
    """Return the cell value of *message*; `INVALID` for what no cell can hold."""
    match message.WhichOneof("kind"):
        case "string_value":
            return values.string(message.string_value)
        case "integer_value":
            return values.integer(message.integer_value)
        case "double_value":
            return values.double(message.double_value)
        case "boolean_value":
            return values.boolean(message.boolean_value)
        case "bytes_value":
            return values.blob(message.bytes_value)
        case "timestamp_value":
            instant = message.timestamp_value
            if not 0 <= instant.nanos < NANOSECONDS:
                return values.INVALID
            return values.timestamp(instant.seconds * 1_000_000 + instant.nanos // 1000)
        case _:
            return values.NULL


def value_to(value: bytes) -> frames.Value:
    match values.kind(value):
        case Kind.STRING:
            return frames.Value(string_value=values.as_string(value))
        case Kind.INTEGER:
            return frames.Value(integer_value=values.as_integer(value))
        case Kind.DOUBLE:
            return frames.Value(double_value=values.as_double(value))
        case Kind.BOOLEAN:
            return frames.Value(boolean_value=bool(values.as_integer(value)))
        case Kind.BYTES:
            return frames.Value(bytes_value=value[1:])
        case Kind.TIMESTAMP:
            microseconds = values.as_integer(value)
            instant = Timestamp(
                seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000
            )
            return frames.Value(timestamp_value=instant)
        case Kind.NULL:
            return frames.Value()


def batch_from(device: str, message: frames.MutationBatch) -> Batch:
    return Batch(
        device=device,
        mutations=tuple(_mutation_from(each) for each in message.mutations),
        confirmed_through=message.confirmed_through,
    )


def _mutation_from(message: frames.Mutation) -> Mutation:
    return Mutation(
        number=message.number,
        base_seq=message.base_seq,
        hlc=message.hlc,
        operations=tuple(_operation_from(each) for each in message.operations),
    )


def _operation_from(message: frames.Operation) -> Operation:
    match message.WhichOneof("action"):
        case "set":
            fields = {name: value_from(value) for name, value in message.set.fields.items()}
            return SetFields(message.record, fields)
        case "delete":
            return DeleteRecord(message.record)
        case _:
            return UnknownOperation(message.record)


def head_to(head: Head) -> frames.Head:
    return frames.Head(
        space_key=head.space_key,
        seq=head.seq,
        state_hash=integrity.to_bytes(head.state_hash),
    )


def ack_to(results: list[Result], head: Head) -> frames.PushAck:
    return frames.PushAck(
        results=[
            frames.MutationResult(
                number=result.number,
                status=frames.MutationStatus.ValueType(result.status),
                seq=result.seq,
                reason=result.reason,
                message=result.message,
            )
            for result in results
        ],
        head=head_to(head),
    )


def schema_from(message: spaces.Schema) -> Schema:
    """
    Return the schema a client asks for; numbers and version are the server's to give.

    Raises:
        InvalidInput: A type or a policy is one this server doesn't know.

    """
    fields = []
    for index, each in enumerate(message.fields):
        path = f"space.schema.fields[{index}]"
        if int(each.type) not in KINDS:
            raise InvalidInput(
                "FIELD_TYPE_MISSING",
                "Each field needs a type that this server knows.",
                field_violations={f"{path}.type": "missing or unknown"},
            )
        policy = each.policy or spaces.MERGE_POLICY_LWW
        if int(policy) not in POLICIES:
            raise InvalidInput(
                "MERGE_POLICY_NOT_IMPLEMENTED",
                "The merge policy is unknown to this server; use LWW.",
                field_violations={f"{path}.policy": "unknown"},
            )
        fields.append(Field(name=each.name, kind=Kind(each.type), policy=MergePolicy(policy)))
    return Schema(fields=tuple(fields))


def schema_to(schema: Schema) -> spaces.Schema:
    return spaces.Schema(
        fields=[
            spaces.Field(
                name=field.name,
                type=spaces.ValueType.ValueType(field.kind),
                policy=spaces.MergePolicy.ValueType(field.policy),
                number=field.number,
            )
            for field in schema.fields
        ],
        version=schema.version,
    )


def access_from(message: spaces.AccessPolicy) -> Access:
    return Access(
        reader_roles=tuple(message.reader_roles),
        writer_roles=tuple(message.writer_roles),
        reader_subjects=tuple(message.reader_subjects),
        writer_subjects=tuple(message.writer_subjects),
    )


def access_to(access: Access) -> spaces.AccessPolicy:
    return spaces.AccessPolicy(
        reader_roles=access.reader_roles,
        writer_roles=access.writer_roles,
        reader_subjects=access.reader_subjects,
        writer_subjects=access.writer_subjects,
    )


def space_to(space: Space) -> spaces.Space:
    message = spaces.Space(
        name=space.name,
        display_name=space.display_name,
        schema=schema_to(space.schema),
        access=access_to(space.access),
        head_seq=space.head_seq,
        space_key=space.space_key,
        state_hash=integrity.to_bytes(space.state_hash),
        etag=etag(space),
    )
    message.create_time.FromDatetime(space.create_time)
    message.update_time.FromDatetime(space.update_time)
    return message


def etag(space: Space) -> str:
    return f"{space.space_key:x}.{space.version:x}"
