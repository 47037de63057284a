"""
Endpoints from Kubernetes: EndpointSlices, listed once and then watched.

    list (pages) ──resourceVersion──▶ watch ──ADDED, MODIFIED, DELETED──▶ tell
        ▲                              │  ▲ BOOKMARK: a newer resourceVersion
        └── 410 Gone: too old ─────────┘  └── ended: go on from the last one

Needs to `list` and `watch` `endpointslices` of `discovery.k8s.io` in the service's namespace.
The token is read anew from its file for every request: kubelet replaces it long before it ends.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog
from kubernetes_asyncio import client

from gateway.sources.slices import SERVICE_LABEL, endpoints_of
from gateway.sources.source import Found


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model import KubernetesDiscovery, Service
    from gateway.sources.source import Parts, SourceSettings, Tell

IN_CLUSTER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE: Final = 500
"""Slices in one answer to a list."""

SLICES_MAX: Final = 1_000
"""Slices of one service that are taken; each holds up to 1,000 endpoints."""

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest event of a watch; etcd's own bound on an object is below 2 MiB."""

WATCH_S: Final = 300
"""How long the server is asked to keep a watch open."""

SILENT_S: Final = 330.0
"""A watch that outlives that is broken: bookmarks come about each minute."""

LIST_S: Final = 10.0
RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 30.0
GONE: Final = 410

log = structlog.get_logger()


class _Expired(Exception):
    """The resource version is too old: list again."""


def make(parts: Parts) -> KubernetesSource:
    """Return the source."""
    return KubernetesSource(parts.settings)


class KubernetesSource:
    """All services that are found in Kubernetes, by one client."""

    def __init__(self, settings: SourceSettings) -> None:
        self._token = Path(settings.kubernetes_token_file or IN_CLUSTER / "token")
        self._configuration = client.Configuration(host=settings.kubernetes_api or _in_cluster())
        self._configuration.ssl_ca_cert = str(settings.kubernetes_ca_file or IN_CLUSTER / "ca.crt")
        # Each service has a watch of its own, open all the time.
        self._configuration.connection_pool_maxsize = 0
        self._configuration.api_key["BearerToken"] = ""  # There is one; the hook knows it.
        self._configuration.refresh_api_key_hook = self._read_token
        self._api_client = client.ApiClient(self._configuration)
        self._api = client.DiscoveryV1Api(self._api_client)

    async def follow(self, service: Service, tell: Tell) -> None:
        """List and watch until cancelled."""
        spec = service.discovery.kubernetes
        assert spec is not None, "it is found in Kubernetes"
        slices: dict[str, Any] = {}
        version = ""
        retry_s = RETRY_FIRST_S
        while True:
            try:
                if not version:
                    slices, version = await self._list(spec)
                    retry_s = RETRY_FIRST_S
                    tell(_found(slices, spec))
                async for kind, item in self._watch(spec, version):
                    version = item["metadata"].get("resourceVersion") or version
                    retry_s = RETRY_FIRST_S
                    if kind == "BOOKMARK":
                        continue
                    if kind == "DELETED":
                        slices.pop(item["metadata"]["name"], None)
                    elif len(slices) < SLICES_MAX or item["metadata"]["name"] in slices:
                        slices[item["metadata"]["name"]] = item
                    tell(_found(slices, spec))
            except _Expired:
                version = ""
                log.info("kubernetes_relisted", service=service.name)
            except (aiohttp.ClientError, client.ApiException, OSError, ValueError) as error:
                # A timeout is an OSError. What is known stays.
                log.warning("kubernetes_unanswered", service=service.name, error=str(error)[:200])
                await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                retry_s = min(2 * retry_s, RETRY_MAX_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._api_client.close()

    async def _read_token(self, configuration: Any) -> None:
        token = await asyncio.to_thread(self._token.read_text)
        configuration.api_key["BearerToken"] = f"Bearer {token.strip()}"

    async def _request(self, spec: KubernetesDiscovery, **options: Any) -> Any:
        """Return the open answer to a list or a watch; raises if it isn't good."""
        response: Any = await self._api.list_namespaced_endpoint_slice(
            spec.namespace,
            label_selector=f"{SERVICE_LABEL}={spec.service}",
            _preload_content=False,
            **options,
        )
        if response.status == GONE:
            response.close()
            raise _Expired
        if response.status >= 400:
            said = (await response.text())[:200]
            response.close()
            raise ValueError(f"{response.status}: {said}")
        return response

    async def _list(self, spec: KubernetesDiscovery) -> tuple[dict[str, Any], str]:
        slices: dict[str, Any] = {}
        more: dict[str, str] = {}
        while True:
            response = await self._request(spec, limit=PAGE, _request_timeout=LIST_S, **more)
            async with response:
                page = json.loads(await response.read())
            for item in page.get("items") or ():
                if len(slices) < SLICES_MAX:
                    slices[item["metadata"]["name"]] = item
            token = page["metadata"].get("continue")
            if not token:
                return slices, str(page["metadata"]["resourceVersion"])
            more = {"_continue": token}

    async def _watch(
        self, spec: KubernetesDiscovery, version: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        response = await self._request(
            spec,
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=WATCH_S,
            _request_timeout=SILENT_S,
        )
        async with response:
            async for line in _lines(response.content):
                event = json.loads(line)
                kind, item = event["type"], event["object"]
                if kind == "ERROR":
                    if item.get("code") == GONE:
                        raise _Expired
                    raise ValueError(f"watch: {item.get('message')}")
                yield kind, item


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines, however long: aiohttp's own are cut off at 128 KiB."""
    rest = bytearray()
    async for chunk in content.iter_any():
        rest += chunk
        *lines, last = bytes(rest).split(b"\n") if b"\n" in chunk else (bytes(rest),)
        for line in lines:
            if line.strip():
                yield line
        rest = bytearray(last)
        if len(rest) > LINE_BYTES_MAX:
            raise ValueError("an event of the watch is too large")


def _found(slices: dict[str, Any], spec: KubernetesDiscovery) -> Found:
    return Found(endpoints=endpoints_of(slices.values(), spec.port_name))


def _in_cluster() -> str:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ValueError("GATEWAY_KUBERNETES_API isn't set, and this isn't inside a cluster.")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
