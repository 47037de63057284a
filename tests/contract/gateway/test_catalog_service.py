"""The catalog's API, over the operator's socket and over mutual TLS."""

import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2


def service(**fields):
    return service_pb2.Service(
        **{
            "grpc_services": ["aerofusion.notify.v1.NotificationService"],
            "endpoints": [service_pb2.Endpoint(address="127.0.0.1", port=5000)],
            **fields,
        }
    )


@pytest.fixture
async def catalog(operator):
    return stubs.CatalogServiceStub(operator)


async def create(catalog, name="notifier", **fields):
    request = rpc.CreateServiceRequest(service_id=name, service=service(**fields))
    return (await catalog.CreateService(request)).service


async def test_a_created_service_is_there_with_its_defaults(catalog):
    made = await create(catalog)
    assert made.name == "services/notifier"
    assert made.identity == "notifier"
    assert made.unary_timeout.seconds == 30
    got = await catalog.GetService(rpc.GetServiceRequest(name=made.name))
    assert got.service == made
