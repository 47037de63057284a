"""The APIs of one gateway process, and what of it each is given. Another one is a row in `APIS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aerofusion.gateway.v1 import (
    catalog_service_pb2_grpc,
    change_service_pb2_grpc,
    config_service_pb2_grpc,
    config_status_service_pb2_grpc,
    explain_service_pb2_grpc,
    lifecycle_service_pb2_grpc,
    limit_service_pb2_grpc,
    policy_service_pb2_grpc,
    registry_service_pb2_grpc,
)
from gateway.services import catalog as catalog_service
from gateway.services import changes, client_status, config, config_status, policies
from gateway.services import explain as explain_service
from gateway.services import lifecycle as lifecycle_service
from gateway.services import limits as limit_service
from gateway.services import registry as registry_service
from gateway.store.history import History
from gateway.xds.feed import Flavour


if TYPE_CHECKING:
    from gateway.app import Gateway


def _serve_catalog(gateway: Gateway) -> None:
    gateway.server.add(
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
        catalog_service.CatalogService(gateway.store, gateway.writer),
        catalog_service.SERVICE,
    )


def _serve_config(gateway: Gateway) -> None:
    gateway.server.add(
        config_service_pb2_grpc.add_ConfigServiceServicer_to_server,
        config.ConfigService(
            gateway.store,
            gateway.config,
            try_out=gateway.control.try_out,
            edges=gateway.edges,
        ),
        config.SERVICE,
    )


def _serve_changes(gateway: Gateway) -> None:
    gateway.server.add(
        change_service_pb2_grpc.add_ChangeServiceServicer_to_server,
        changes.ChangeService(
            gateway.store,
            gateway.receipts,
            gateway.feed,
            sessions=gateway.discovery.sessions,
            catalog=lambda: gateway.control.catalog,
            checked=lambda: gateway.control.revision,
        ),
        changes.SERVICE,
    )


def _serve_config_status(gateway: Gateway) -> None:
    gateway.server.add(
        config_status_service_pb2_grpc.add_ConfigStatusServiceServicer_to_server,
        config_status.ConfigStatusService(
            gateway.discovery.sessions, gateway.feed, revision=lambda: gateway.control.revision
        ),
        config_status.SERVICE,
    )


def _serve_client_status(gateway: Gateway) -> None:
    status = client_status.ClientStatusDiscovery(gateway.discovery.sessions, gateway.feed)
    status.register(gateway.server.server)


def _serve_explain(gateway: Gateway) -> None:
    gateway.server.add(
        explain_service_pb2_grpc.add_ExplainServiceServicer_to_server,
        explain_service.ExplainService(
            History(gateway.pool),
            gateway.settings.edge_options(),
            newest=lambda: gateway.feed.newest(Flavour.EDGE),
            inputs=lambda: gateway.control.inputs,
        ),
        explain_service.SERVICE,
    )


def _serve_lifecycles(gateway: Gateway) -> None:
    gateway.server.add(
        lifecycle_service_pb2_grpc.add_LifecycleServiceServicer_to_server,
        lifecycle_service.LifecycleService(
            gateway.telemetry, catalog=lambda: gateway.control.catalog
        ),
        lifecycle_service.SERVICE,
    )


def _serve_limits(gateway: Gateway) -> None:
    gateway.server.add(
        limit_service_pb2_grpc.add_LimitServiceServicer_to_server,
        limit_service.LimitService(
            gateway.limits,
            inputs=lambda: gateway.control.inputs,
            feed=gateway.feed,
            stopping=gateway.server.stopping,
            telemetry=gateway.telemetry,
        ),
        limit_service.SERVICE,
    )


def _serve_policies(gateway: Gateway) -> None:
    gateway.server.add(
        policy_service_pb2_grpc.add_PolicyServiceServicer_to_server,
        policies.PolicyService(gateway.telemetry, catalog=lambda: gateway.control.catalog),
        policies.SERVICE,
    )


def _serve_registry(gateway: Gateway) -> None:
    gateway.server.add(
        registry_service_pb2_grpc.add_RegistryServiceServicer_to_server,
        registry_service.RegistryService(
            gateway.registry,
            catalog=lambda: gateway.control.catalog,
            stopping=gateway.server.stopping,
        ),
        registry_service.SERVICE,
    )


def _serve_keys(gateway: Gateway) -> None:
    gateway.access.add_to(gateway.server)


APIS: Final[tuple[Callable[[Gateway], None], ...]] = (
    _serve_catalog,
    _serve_config,
    _serve_changes,
    _serve_config_status,
    _serve_client_status,
    _serve_explain,
    _serve_lifecycles,
    _serve_limits,
    _serve_policies,
    _serve_registry,
    _serve_keys,
)
