"""The dead man's switch: asks telemetry whether its rules are evaluated, and pages if not."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiohttp
import structlog

from meshkit.main import run_service
from telemetry.alerts.message import Message
from telemetry.alerts.straight import Straight, mail, post_all
from telemetry.alerts.telling import Why
from telemetry.deadman.judging import Heard, Watch, judge
from telemetry.deadman.settings import Settings


if TYPE_CHECKING:
    from collections.abc import Callable

    from meshkit.identity import Workload
    from telemetry.deadman.judging import Page

log = structlog.get_logger()

ANSWERS_WITHIN_S = 4.0


def main(argv: list[str] | None = None) -> int:
    """Run `deadman [serve | check-config]`; returns the exit code."""
    return run_service("deadman", Settings, serve, argv or ["serve"])


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> None:
    """
    Watch until *stop* is set.

    Args:
        started: Receives 0 (there is no port) once it watches.
        clock: Unix nanoseconds.

    """
    grace_ms = settings.grace // timedelta(milliseconds=1)
    watch = Watch(good_ms=clock() // 1_000_000 + grace_ms)
    connector = aiohttp.UnixConnector(path=str(settings.telemetry_socket))
    async with aiohttp.ClientSession(connector=connector) as asking, aiohttp.ClientSession() as out:
        if started is not None and not started.done():
            started.set_result(0)
        answers = False
        while not stop.is_set():
            heard = await _ask(asking)
            if heard is not None and not answers:
                log.info("telemetry_heard", groups=heard.groups)
            answers = heard is not None
            judged, page = judge(
                watch,
                heard,
                clock() // 1_000_000,
                stalled_after_ms=settings.stalled_after // timedelta(milliseconds=1),
                repeat_ms=settings.repeat // timedelta(milliseconds=1),
            )
            # What nobody took is told again with the next look.
            if page is None or await _tell(settings, out, page, clock() // 1_000_000):
                watch = judged
            try:
                async with asyncio.timeout(settings.interval.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                continue


async def _ask(session: aiohttp.ClientSession) -> Heard | None:
    """Return what telemetry says; None if it doesn't answer, or not sensibly."""
    limit = aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S)
    try:
        async with session.get(
            "http://telemetry/api/v1/rules", params={"exclude_alerts": "true"}, timeout=limit
        ) as response:
            groups = (await response.json())["data"]["groups"]
        times = [(_ms(group["lastEvaluation"]), int(group["interval"] * 1000)) for group in groups]
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("telemetry_silent", error=repr(error)[:200])
        return None
    return Heard(
        groups=len(groups),
        evaluated_ms=max((at for at, _ in times), default=0),
        due_ms=min((at + interval for at, interval in times if at), default=0),
    )


def _ms(text: str) -> int:
    """Return Unix milliseconds of a time as Prometheus's API has it; 0 for its zero time."""
    when = datetime.fromisoformat(text)
    return max(0, int(when.astimezone(UTC).timestamp() * 1000)) if when.year > 1 else 0


async def _tell(
    settings: Settings, session: aiohttp.ClientSession, page: Page, now_ms: int
) -> bool:
    """Return whether anybody took it."""
    log.error("rules_stand_still" if page.stalled else "rules_evaluated_again", why=page.why)
    subject = "[FIRING] Alerting itself stands still" if page.stalled else "[RESOLVED] Alerting"
    message = Message(
        id=uuid.uuid4().hex,
        policy="deadman",
        group=("deadman", "{}"),
        version=now_ms,
        why=Why.FIRING if page.stalled else Why.RESOLVED,
        subject=subject,
        text=page.why,
        targets=(),
        fallback_mails=_list(settings.mails),
        fallback_webhooks=_list(settings.webhooks),
        alerts=(),
        labels=({"alertname": "RulesStandStill", "severity": "page"},),
    )
    taken = await asyncio.gather(_mail(settings, message), post_all(session, message))
    if not any(taken):
        log.error("nobody_told", why=page.why)
    return any(taken)


async def _mail(settings: Settings, message: Message) -> bool:
    straight = Straight(
        smtp_address=settings.smtp_address,
        smtp_security=settings.smtp_security,
        smtp_sender=settings.smtp_sender,
    )
    workload = None
    if settings.smtp_security == "mesh":
        workload = await asyncio.to_thread(_identity, settings)
        if workload is None:
            return False
    return await mail(straight, message, workload)


def _identity(settings: Settings) -> Workload | None:
    """Return telemetry's identity as it was renewed last; None if there is no good one."""
    # Whoever only watches needs none of this.
    from meshkit.identity import IdentityFolder, SpiffeId, Workload  # noqa: PLC0415

    folder = IdentityFolder(settings.identity_dir)
    material = folder.read(SpiffeId("telemetry", settings.replica))
    if material is None:
        log.warning("no_identity", folder=str(settings.identity_dir))
        return None
    return Workload(
        spiffe_id=material.spiffe_id,
        key_pem=material.key_pem,
        chain_pem=material.chain_pem,
        bundle_pem=material.bundle_pem,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())
