import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from meshctl.contracts import contract


@pytest.mark.parametrize("area", ["gateway", "notify", "sync", "telemetry"])
def test_a_descriptor_set_holds_all_it_imports_before_it_is_needed(area):
    found = contract(area)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(found.descriptor_set).file:
        pool.Add(file)

    assert found.grpc_services
    for name in found.grpc_services:
        assert pool.FindServiceByName(name).full_name.startswith(f"aerofusion.{area}.v1.")


def test_the_same_contract_has_the_same_bytes():
    assert contract("sync") == contract("sync")
