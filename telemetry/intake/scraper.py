"""
Scraping of Prometheus and OpenMetrics endpoints.

What a target answers goes into the log as it is, with the target's labels before it. `up`,
`scrape_duration_seconds` and `scrape_samples_scraped` are written for each scrape; a series that
was there the time before and isn't now is marked as ended, and all of them are when a scrape fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import structlog
import yaml

from meshkit.errors import MeshError
from meshkit.settings import InvalidSettings
from telemetry.scan.exposition import root_of, series_at
from telemetry.scan.exposition_described import Header, keys_of, opened, sealed
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from telemetry.intake.intake import Intake

log = structlog.get_logger()

ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
BODY_BYTES_MAX = 64 * 1024 * 1024
TARGETS_MAX = 10_000
SCRAPES_AT_ONCE = 32
"""Scrapes under way at once."""

_SPREAD_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One endpoint that is scraped."""

    url: str
    labels: Mapping[str, str]
    """`job`, `instance` and what its configuration adds."""

    interval_s: float
    timeout_s: float


def read_targets(path: Path) -> list[Target]:
    """
    Return the targets of a file as Prometheus has it: `scrape_configs` with `static_configs`.

    Of each: `job_name`, `scrape_interval`, `scrape_timeout` (also under `global`), `scheme`,
    `metrics_path`, `targets` and `labels`. Anything else is an error, not passed over.

    Raises:
        InvalidSettings: The file can't be read, or asks for what isn't done here.

    """
    try:
        told = yaml.load(path.read_text(), yaml.CSafeLoader) or {}
        _only(told, {"global", "scrape_configs"})
        fallback = told.get("global") or {}
        _only(fallback, {"scrape_interval", "scrape_timeout"})
        found = [
            target
            for job in told.get("scrape_configs") or ()
            for target in _targets_of(job, fallback)
        ]
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidSettings(f"{path}: {error}") from None
    if len(found) > TARGETS_MAX:
        raise InvalidSettings(f"{path}: at most {TARGETS_MAX} targets")
    return found


def _only(told: Mapping[str, object], known: set[str]) -> None:
    unknown = sorted(set(told) - known)
    if unknown:
        raise ValueError(f"not known here: {', '.join(unknown)}")


def _targets_of(job: Mapping[str, object], fallback: Mapping[str, object]) -> Iterable[Target]:
    known = {"job_name", "scrape_interval", "scrape_timeout", "scheme", "metrics_path"}
    _only(job, known | {"static_configs"})
    interval = _seconds(job.get("scrape_interval", fallback.get("scrape_interval", "1m")))
    timeout = _seconds(job.get("scrape_timeout", fallback.get("scrape_timeout", "10s")))
    groups = job.get("static_configs") or ()
    if not isinstance(groups, list):
        raise TypeError("static_configs is a list")
    for group in groups:
        _only(group, {"targets", "labels"})
        for address in group["targets"]:
            yield Target(
                url=f"{job.get('scheme', 'http')}://{address}{job.get('metrics_path', '/metrics')}",
                labels={
                    "job": str(job["job_name"]),
                    "instance": str(address),
                    **{name: str(value) for name, value in (group.get("labels") or {}).items()},
                },
                interval_s=interval,
                timeout_s=min(timeout, interval),
            )


def _seconds(text: object) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    word = str(text)
    unit = word.lstrip("0123456789")
    if unit not in units or word == unit or int(word.removesuffix(unit)) == 0:
        raise ValueError(f"no duration: {word}")
    return int(word.removesuffix(unit)) * units[unit]


class Scraper:
    """
    Scrapes targets, each at its own moment of the interval. `run` until cancelled.

    Args:
        tls: For targets with the scheme `https`.
        clock: Unix seconds.

    """

    def __init__(
        self,
        intake: Intake,
        targets: list[Target],
        *,
        tls: ssl.SSLContext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._intake = intake
        self._targets = targets
        self._tls = tls
        self._clock = clock
        self._room = asyncio.Semaphore(SCRAPES_AT_ONCE)

    async def run(self) -> None:
        """Scrape all targets until cancelled."""
        if not self._targets:
            return
        async with (
            aiohttp.ClientSession(
                auto_decompress=True, connector=aiohttp.TCPConnector(ssl=self._tls)
            ) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for target in self._targets:
                tasks.create_task(self._follow(Followed(target), session))

    async def _follow(self, followed: Followed, session: aiohttp.ClientSession) -> None:
        target = followed.target
        digest = hashlib.blake2b(repr(target).encode(), digest_size=_SPREAD_BITS // 8).digest()
        offset = int.from_bytes(digest) / (1 << _SPREAD_BITS) * target.interval_s
        while True:
            now = self._clock()
            await asyncio.sleep(target.interval_s - (now - offset) % target.interval_s)
            async with self._room:
                await self.scrape(followed, session)

    async def scrape(self, followed: Followed, session: aiohttp.ClientSession) -> bool:
        """Scrape once; return whether the target is up."""
        target = followed.target
        began = time.monotonic()
        series, samples, up = followed.nothing, 0, False
        took = 0.0
        text = b""
        try:
            text, seconds = await self._fetch(target, session)
            took = time.monotonic() - began
            accepted = await self._intake.accept(
                Signal.SCRAPE, sealed(Header(labels=target.labels, seconds=seconds), text)
            )
            series, samples, up = accepted.series, accepted.written["samples"], True
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            took = time.monotonic() - began
            log.info("scrape_failed", url=target.url, error=str(error)[:200])
        except MeshError as error:
            log.warning("scrape_refused", url=target.url, reason=error.reason, error=str(error))
        try:
            await self._end(followed, series, text)
            await self._intake.accept(
                Signal.SCRAPE,
                sealed(
                    Header(labels=target.labels),
                    f"up {int(up)}\nscrape_duration_seconds {took:.6f}\n"
                    f"scrape_samples_scraped {samples}\n".encode(),
                ),
            )
        except MeshError as error:
            log.warning("scrape_not_stored", url=target.url, reason=error.reason)
        return up

    async def _fetch(self, target: Target, session: aiohttp.ClientSession) -> tuple[bytes, bool]:
        """Return a target's text, and whether times in it are seconds."""
        headers = {
            "Accept": ACCEPT,
            "X-Prometheus-Scrape-Timeout-Seconds": f"{target.timeout_s:g}",
        }
        timeout = aiohttp.ClientTimeout(total=target.timeout_s)
        async with session.get(target.url, headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            text = await answer.content.read(BODY_BYTES_MAX + 1)
            while chunk := await answer.content.read(BODY_BYTES_MAX + 1 - len(text)):
                text += chunk
            if len(text) > BODY_BYTES_MAX:
                raise ValueError("the answer is too large")
            open_metrics = answer.content_type == "application/openmetrics-text"
            if open_metrics and not text.endswith((b"# EOF\n", b"# EOF")):
                raise ValueError("the answer is cut off: it doesn't end in # EOF")
            return text, open_metrics

    async def _end(self, followed: Followed, series: NDArray[np.uint64], text: bytes) -> None:
        """Mark those series as ended that were there before and aren't now."""
        gone = np.setdiff1d(followed.series, series)
        before = followed.text
        followed.series, followed.text = np.unique(series), text
        if not len(gone):
            return
        header = Header(labels=followed.target.labels, stale=True)
        keys = [key for key in keys_of(sealed(header, before)) if followed.number(key) in gone]
        if keys:
            await self._intake.accept(
                Signal.SCRAPE, sealed(header, b"".join(key + b" 0\n" for key in keys))
            )


class Followed:
    """A target, and what it had the last time."""

    nothing = np.zeros(0, np.uint64)

    def __init__(self, target: Target) -> None:
        self.target = target
        self.series = self.nothing
        """Ids, sorted."""

        self.text = b""
        _, named, _ = opened(sealed(Header(labels=target.labels), b""))
        self._root = root_of(named, "")

    def number(self, key: bytes) -> int:
        """Return the id of the series *key*, a line's name and labels."""
        data = np.frombuffer(key, np.uint8)
        return int(series_at(data, 0, len(data), self._root))
