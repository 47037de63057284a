"""
A small Kubernetes API server for one kind, EndpointSlices, over HTTPS.

It answers in the shapes of the recorded files beside it: lists in pages, watches with bookmarks,
410 for resource versions that are too old, 401 for tokens that are none (any more).
"""

import asyncio
import contextlib
import functools
import ipaddress
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


RECORDED = Path(__file__).parent / "kubernetes"
PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


@functools.cache
def _text(name):
    return (RECORDED / f"{name}.json").read_text()


def recorded(name):
    return json.loads(_text(name))


class ApiServer:
    """What the cluster is. A change is a method; whoever watches is told."""

    def __init__(self, folder):
        self.folder = folder
        self.token = "first"
        self.slices = {}
        self.version = 184_500
        self.oldest = 0
        """Watches from before this version are too old."""

        self.lists = 0
        self.watches = []
        """The resource version each began at."""

        self.refused = 0
        self.url = ""
        self._queues = set()

    @property
    def token_file(self):
        return self.folder / "token"

    @property
    def ca_file(self):
        return self.folder / "ca.crt"

    def rotate(self, token):
        """As kubelet does: the file first; here the old one is worth nothing at once."""
        self.token_file.write_text(token)
        self.token = token

    def put(self, name, port, zone="eu-central-1a", **conditions):
        """A slice with one replica at 127.0.0.1:*port*."""
        kind = "MODIFIED" if name in self.slices else "ADDED"
        item = recorded("slice-one-port")
        item["metadata"]["name"] = name
        item["ports"][0]["port"] = port
        del item["endpoints"][1:]
        item["endpoints"][0]["addresses"] = ["127.0.0.1"]
        item["endpoints"][0]["conditions"].update(conditions)
        item["endpoints"][0]["zone"] = zone
        self.slices[name] = item
        self._tell(kind, item)

    def delete(self, name):
        self._tell("DELETED", self.slices.pop(name))

    def bookmark(self):
        event = recorded("bookmark")
        self.version += 100
        event["object"]["metadata"]["resourceVersion"] = str(self.version)
        self._send(event)

    def expire(self):
        """Let every version so far be too old, and end all watches: in the stream, or by silence."""
        self.version += 1
        self.oldest = self.version
        self._send({"type": "ERROR", "object": recorded("expired")})

    def cut(self):
        """End all watches without a word."""
        self._send(None)

    def _tell(self, kind, item):
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._send({"type": kind, "object": item})

    def _send(self, event):
        line = None if event is None else json.dumps(event).encode() + b"\n"
        for queue in self._queues:
            queue.put_nowait(line)

    async def endpoint_slices(self, request):
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            self.refused += 1
            return web.json_response(recorded("unauthorized"), status=401)
        assert request.query["labelSelector"] == "kubernetes.io/service-name=echo"
        if request.query.get("watch"):
            return await self._watch(request)
        self.lists += 1
        names = sorted(self.slices)
        start, limit = int(request.query.get("continue", "0")), 1  # However many were asked for.
        page = recorded("list")
        page["metadata"] = {"resourceVersion": str(self.version)}
        if start + limit < len(names):
            page["metadata"]["continue"] = str(start + limit)
        page["items"] = [
            {k: v for k, v in self.slices[name].items() if k not in ("kind", "apiVersion")}
            for name in names[start : start + limit]
        ]
        return web.json_response(page)

    async def _watch(self, request):
        version = int(request.query["resourceVersion"])
        self.watches.append(version)
        if version < self.oldest:
            return web.json_response(recorded("expired"), status=410)
        assert request.query["allowWatchBookmarks"] == "True"
        queue = asyncio.Queue()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._queues.add(queue)
        try:
            while (line := await queue.get()) is not None:
                await response.write(line)
        finally:
            self._queues.discard(queue)
        return response

    @contextlib.asynccontextmanager
    async def serving(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key, certificate = self._certificate()
        self.ca_file.write_bytes(certificate)
        context.load_cert_chain(self.ca_file, key)
        self.rotate(self.token)
        app = web.Application()
        app.router.add_get(PATH, self.endpoint_slices)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.cut()
            await runner.cleanup()

    def _certificate(self):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        now = datetime.now(UTC)
        places = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(places, critical=False)
            .sign(key, hashes.SHA256())
        )
        path = self.folder / "key.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path, made.public_bytes(serialization.Encoding.PEM)
