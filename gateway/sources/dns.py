"""
Endpoints from DNS: A and AAAA records, or SRV records and the addresses of their targets.

A record is believed for its TTL, at most for the service's `refresh_interval` (RFC 1035, 2181).
A question that gets no answer (SERVFAIL, a timeout) changes nothing: what was known stays, for as
long as it takes. That there is no such name, or nothing behind it, is an answer; since it is also
what a zone looks like that is being rewritten, the service is emptied only when that is still so
after a while (`GATEWAY_DISCOVERY_EMPTY_GRACE`).
An SRV target of "." means that there is nothing (RFC 2782).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
import structlog

from gateway.model import Endpoint
from gateway.sources.keeper import ENDPOINTS_MAX
from gateway.sources.source import Found


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import DnsDiscovery, Service
    from gateway.sources.source import Parts, SourceSettings, Tell

QUESTIONS_MAX: Final = 32
"""Services that are asked for at once."""

TARGETS_MAX: Final = 100
"""Targets of SRV records that are resolved; of more, those of the best priority."""

PAUSE_MIN_S: Final = 1.0
"""Between two questions, however short the TTL."""

RETRY_MAX_S: Final = 30.0
EMPTY_RETRY_S: Final = 5.0
"""How soon a name without records is asked for again, at most."""

WEIGHT_MAX: Final = 1_000
PRIORITY_MAX: Final = 8

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The answer to one question. None at all is an answer, too."""

    values: tuple[Any, ...]
    ttl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An SRV record."""

    host: str
    port: int
    priority: int
    weight: int


def make(parts: Parts) -> DnsSource:
    """Return the source."""
    return DnsSource(parts.settings)


class DnsSource:
    """All services that are found by DNS."""

    def __init__(self, settings: SourceSettings) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.dns_servers)
        if settings.dns_servers:
            self._resolver.nameservers = [_server(one) for one in settings.dns_servers]
        self._resolver.timeout = settings.dns_timeout.total_seconds()
        self._resolver.lifetime = 2 * settings.dns_timeout.total_seconds()
        self._slots = asyncio.Semaphore(QUESTIONS_MAX)

    async def follow(self, service: Service, tell: Tell) -> None:
        """Ask again and again until cancelled."""
        spec = service.discovery.dns
        assert spec is not None, "it is found by DNS"
        look = Look(spec)
        failures = 0
        while True:
            async with self._slots:
                found = await look.take(self._ask)
            failures = 0 if found is not None else failures + 1
            if found is None:
                log.warning("dns_unanswered", service=service.name, hostname=spec.hostname)
            else:
                tell(found)
            empty = found is not None and not found.endpoints
            pause = pause_s(look.ttl, spec.refresh_interval.total_seconds(), failures, empty=empty)
            await asyncio.sleep(pause * random.uniform(0.9, 1.0))  # noqa: S311 - jitter

    async def close(self) -> None:
        """Nothing stays open between two questions."""

    async def _ask(self, host: str, kind: str) -> Records | None:
        """Return what there is; None if nobody could say."""
        try:
            answer = await self._resolver.resolve(
                dns.name.from_text(host), kind, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            return Records(values=(), ttl=EMPTY_RETRY_S)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            log.debug("dns_failed", host=host, kind=kind, error=str(error))
            return None
        ttl = float(answer.chaining_result.minimum_ttl)
        if answer.rrset is None:
            return Records(values=(), ttl=EMPTY_RETRY_S)
        return Records(values=tuple(answer.rrset), ttl=ttl)


class Look:
    """What is known of one name. `take` asks, and keeps what it knew where nobody answers."""

    def __init__(self, spec: DnsDiscovery) -> None:
        self._spec = spec
        self._known: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.ttl = PAUSE_MIN_S
        """For how long what is known now may be believed, in seconds."""

    async def take(self, ask: Callable[[str, str], Any]) -> Found | None:
        """Return all there is; None: nothing is known, or nobody said anything new."""
        asked: dict[tuple[str, str], Records | None] = {}
        host = self._spec.hostname
        if host.startswith("_"):
            asked[host, "SRV"] = await ask(host, "SRV")
            targets = self._targets(asked)
        else:
            targets = [Target(host=host, port=self._spec.port, priority=0, weight=1)]
        hosts = dict.fromkeys(target.host for target in targets)
        questions = [(one, kind) for one in hosts for kind in ("A", "AAAA")]
        answers = await asyncio.gather(*(ask(*question) for question in questions))
        asked.update(zip(questions, answers, strict=True))
        heard = {question: records for question, records in asked.items() if records is not None}
        known = {question: self._known[question] for question in asked if question in self._known}
        self._known = {**known, **{question: one.values for question, one in heard.items()}}
        self.ttl = min((one.ttl for one in heard.values()), default=PAUSE_MIN_S)
        if not heard or not self._complete(targets):
            return None
        return Found(endpoints=self._endpoints(targets), left=frozenset())

    def _targets(self, asked: Mapping[tuple[str, str], Records | None]) -> Sequence[Target]:
        question = (self._spec.hostname, "SRV")
        records = asked[question]
        values = records.values if records is not None else self._known.get(question, ())
        return srv_targets(values)

    def _complete(self, targets: Sequence[Target]) -> bool:
        """Whether enough is known to say that what isn't known isn't there."""
        if self._spec.hostname.startswith("_") and (self._spec.hostname, "SRV") not in self._known:
            return False
        found = any(self._known.get((one.host, kind)) for one in targets for kind in ("A", "AAAA"))
        sure = all((one.host, kind) in self._known for one in targets for kind in ("A", "AAAA"))
        return found or sure

    def _endpoints(self, targets: Sequence[Target]) -> tuple[Endpoint, ...]:
        found: dict[tuple[str, int], Endpoint] = {}
        for target in targets:
            for kind in ("A", "AAAA"):
                for record in self._known.get((target.host, kind), ()):
                    endpoint = Endpoint(
                        address=record.address,
                        port=target.port,
                        weight=target.weight,
                        priority=target.priority,
                    )
                    found.setdefault((endpoint.address, endpoint.port), endpoint)
        return tuple(list(found.values())[: ENDPOINTS_MAX + 1])


def srv_targets(values: Sequence[Any]) -> Sequence[Target]:
    """
    Return what SRV records come to, the best priority first.

    Priorities become 0, 1, 2 and so on in their order; weights keep their proportion, 0 counts as
    the least there is.
    """
    there = [one for one in values if one.target != dns.name.root and one.port]
    levels = {priority: n for n, priority in enumerate(sorted({one.priority for one in there}))}
    most = max((one.weight for one in there), default=1)
    scale = max(1.0, most / WEIGHT_MAX)
    targets = [
        Target(
            host=one.target.to_text(omit_final_dot=True).lower(),
            port=one.port,
            priority=min(levels[one.priority], PRIORITY_MAX),
            weight=max(1, round(one.weight / scale)),
        )
        for one in there
    ]
    targets.sort(key=lambda one: (one.priority, one.host, one.port))
    return targets[:TARGETS_MAX]


def pause_s(ttl: float, refresh: float, failures: int, *, empty: bool) -> float:
    """Return how long to wait before the next question."""
    if failures:
        return min(PAUSE_MIN_S * 2.0 ** min(failures - 1, 16), RETRY_MAX_S, max(refresh, 1.0))
    most = min(refresh, EMPTY_RETRY_S) if empty else refresh
    return max(PAUSE_MIN_S, min(ttl, most))


def _server(address: str) -> dns.nameserver.Nameserver:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        host, port = address, "53"
    return dns.nameserver.Do53Nameserver(host.strip("[]"), int(port))
