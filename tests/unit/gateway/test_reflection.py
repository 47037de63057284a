"""What a server is asked by reflection, and what its answers come to."""

import pytest
from grpc_reflection.v1alpha.reflection import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from gateway.compile.descriptors import InvalidDescriptors, methods
from gateway.model import Catalog, Service
from gateway.reflection import conversation as module
from gateway.reflection.conversation import Conversation
from gateway.reflection.reflected import Reflected
from tests.fixtures.echo import SERVICE, EchoMessage, descriptor_set


POOL = EchoMessage.DESCRIPTOR.file.pool


def one_file_each(request):
    """A server that sends only the file it is asked for, as Go's does."""
    asked = ServerReflectionRequest.FromString(request)
    if asked.file_by_filename:
        file = POOL.FindFileByName(asked.file_by_filename)
    else:
        file = POOL.FindFileContainingSymbol(asked.file_containing_symbol)
    told = FileDescriptorResponse(file_descriptor_proto=[file.serialized_pb])
    return ServerReflectionResponse(file_descriptor_response=told).SerializeToString()


def with_imports(request):
    """The server of grpcio."""
    servicer = ReflectionServicer([SERVICE], POOL)
    asked = ServerReflectionRequest.FromString(request)
    (told,) = servicer.ServerReflectionInfo(iter([asked]), None)
    return told.SerializeToString()


def held(server, *services):
    conversation = Conversation(services)
    asked = 0
    while (request := conversation.next()) is not None:
        asked += 1
        conversation.hear(server(request))
    return conversation.result(), asked


@pytest.mark.parametrize("server", [one_file_each, with_imports])
def test_a_servers_files_come_with_all_they_import(server):
    told, _ = held(server, SERVICE)
    assert methods(told)[SERVICE] == methods(descriptor_set())[SERVICE]


def test_no_file_is_asked_for_twice():
    told, asked = held(one_file_each, SERVICE)
    assert asked == len(methods(told)) + 3  # The service's, annotations, http, descriptor.


def test_what_is_told_twice_is_the_same_to_the_byte():
    assert held(one_file_each, SERVICE)[0] == held(with_imports, SERVICE)[0]


def test_a_service_that_isnt_told_of_is_an_error():
    conversation = Conversation([SERVICE, "test.Other"])
    conversation.next()
    conversation.hear(
        one_file_each(ServerReflectionRequest(file_containing_symbol=SERVICE).SerializeToString())
    )
    conversation.next()
    refused = ServerReflectionResponse(error_response=ErrorResponse(error_code=5))
    with pytest.raises(InvalidDescriptors, match="code 5"):
        conversation.hear(refused.SerializeToString())


def test_a_file_that_is_imported_and_never_comes_is_an_error():
    def forgetful(request):
        asked = ServerReflectionRequest.FromString(request)
        if asked.file_by_filename:
            return ServerReflectionResponse().SerializeToString()
        return one_file_each(request)

    with pytest.raises(InvalidDescriptors, match="imports"):
        held(forgetful, SERVICE)


@pytest.mark.parametrize("answer", [b"\xff\xff\xff", b"\x22\x03\x0a\x01\xff"])
def test_an_answer_that_is_no_reflection_is_an_error(answer):
    conversation = Conversation([SERVICE])
    conversation.next()
    with pytest.raises(InvalidDescriptors):
        conversation.hear(answer)


def test_answers_are_bounded_in_size_and_number(monkeypatch):
    monkeypatch.setattr(module, "FILES_MAX", 1)
    with pytest.raises(InvalidDescriptors, match="files"):
        held(with_imports, SERVICE)
    monkeypatch.setattr(module, "DESCRIPTOR_SET_BYTES_MAX", 100)
    with pytest.raises(InvalidDescriptors, match="bytes"):
        held(with_imports, SERVICE)


def test_what_a_service_told_is_laid_over_it_and_only_while_it_reflects():
    echo = Service(name="services/echo", identity="echo", grpc_services=(SERVICE,), reflect=True)
    reflected = Reflected()
    assert reflected.put(Catalog.of(1, [echo]), echo.name, descriptor_set())
    assert not reflected.put(Catalog.of(1, [echo]), echo.name, descriptor_set())
    assert reflected.over({echo.name: echo})[echo.name].descriptor_set == descriptor_set()
    still = Service(name="services/echo", identity="echo", grpc_services=(SERVICE,))
    assert reflected.over({echo.name: still, "services/gone": None}) == {}
