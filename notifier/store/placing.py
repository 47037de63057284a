"""Puts messages into inboxes: counts, replaces what they supersede, knows what was there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshkit.ids import new_id


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from notifier.model import Message
    from notifier.store.rows import Connection


@dataclass(slots=True)
class _Placing:
    """What stands in the locked inboxes, and what is to be written."""

    counters: dict[tuple[str, str], list[int]]
    """`seq` and `change_seq` of each inbox, as they will be."""
    there: dict[tuple[str, str, str], int]
    """`seq` of each delivery that came before."""
    standing: dict[tuple[str, str, str], dict[int, int]]
    """Versions by `seq` of each subject that stands."""
    added: list[dict[str, Any]] = field(default_factory=list)
    replaced: list[tuple[str, str, int, int]] = field(default_factory=list)

    def put(self, m: Message, now: datetime) -> int | None:
        """Return the message's `seq`; None if its inbox is gone or holds a newer version."""
        owner = (m.tenant, m.recipient)
        if owner not in self.counters:
            return None  # The recipient was deleted a moment ago.
        earlier = self.there.get((*owner, m.delivery))
        if earlier is not None:
            return earlier
        versions = self.standing.setdefault((*owner, m.subject_key), {}) if m.subject_key else {}
        if any(version > m.subject_version for version in versions.values()):
            return None
        counter = self.counters[owner]
        for seq, version in list(versions.items()):
            if version < m.subject_version:
                counter[1] += 1
                self.replaced.append((*owner, seq, counter[1]))
                del versions[seq]
        counter[0] += 1
        counter[1] += 1
        if m.subject_key:
            versions[counter[0]] = m.subject_version
        self.added.append(_row(m, seq=counter[0], change_seq=counter[1], now=now))
        return counter[0]


async def place(
    connection: Connection, messages: Sequence[Message], now: datetime
) -> list[int | None]:
    """
    Put *messages* into their inboxes within the caller's transaction.

    Returns:
        The `seq` of each; None where a newer version of its subject, or nobody, is there.

    """
    counters = await _lock(connection, messages)
    placing = _Placing(
        counters=counters,
        there=await _known(connection, messages),
        standing=await _standing_subjects(connection, messages),
    )
    seqs = [placing.put(message, now) for message in messages]
    await _insert(connection, placing.added)
    await _supersede(connection, placing.replaced)
    await connection.execute(
        "UPDATE inboxes i SET seq = g.seq, change_seq = g.change_seq"
        " FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])"
        " AS g (tenant, recipient, seq, change_seq)"
        " WHERE i.tenant = g.tenant AND i.recipient = g.recipient",
        [owner[0] for owner in counters],
        [owner[1] for owner in counters],
        [counter[0] for counter in counters.values()],
        [counter[1] for counter in counters.values()],
    )
    return seqs


async def _lock(
    connection: Connection, messages: Sequence[Message]
) -> dict[tuple[str, str], list[int]]:
    """Lock the inboxes, in the same order for everyone, and make those that are missing."""
    owners = sorted({(m.tenant, m.recipient) for m in messages})
    locked = await connection.fetch(
        "INSERT INTO inboxes AS i (tenant, recipient, epoch, seq, change_seq)"
        " SELECT g.tenant, g.recipient, g.epoch, 0, 0 FROM unnest($1::text[], $2::text[],"
        " $3::uuid[]) AS g (tenant, recipient, epoch) JOIN recipients r"
        " ON r.tenant = g.tenant AND r.id = g.recipient ORDER BY 1, 2"
        " ON CONFLICT (tenant, recipient) DO UPDATE SET seq = i.seq RETURNING *",
        [owner[0] for owner in owners],
        [owner[1] for owner in owners],
        [new_id() for _ in owners],
    )
    return {(row["tenant"], row["recipient"]): [row["seq"], row["change_seq"]] for row in locked}


async def _known(
    connection: Connection, messages: Sequence[Message]
) -> dict[tuple[str, str, str], int]:
    """Return the `seq` of those of *messages* that came before, by owner and delivery."""
    found = await connection.fetch(
        "SELECT m.tenant, m.recipient, m.delivery, m.seq FROM inbox_messages m"
        " JOIN unnest($1::text[], $2::text[], $3::uuid[]) AS g (tenant, recipient, delivery)"
        " ON m.tenant = g.tenant AND m.recipient = g.recipient AND m.delivery = g.delivery",
        [m.tenant for m in messages],
        [m.recipient for m in messages],
        [m.delivery for m in messages],
    )
    return {(row["tenant"], row["recipient"], str(row["delivery"])): row["seq"] for row in found}


async def _standing_subjects(
    connection: Connection, messages: Sequence[Message]
) -> dict[tuple[str, str, str], dict[int, int]]:
    """Return the versions that stand, by `seq`, of the subjects of *messages*."""
    named = [m for m in messages if m.subject_key]
    standing: dict[tuple[str, str, str], dict[int, int]] = {}
    if not named:
        return standing
    for row in await connection.fetch(
        "SELECT DISTINCT m.tenant, m.recipient, m.subject_key, m.seq, m.subject_version"
        " FROM inbox_messages m JOIN unnest($1::text[], $2::text[], $3::text[])"
        " AS g (tenant, recipient, subject_key) ON m.tenant = g.tenant"
        " AND m.recipient = g.recipient AND m.subject_key = g.subject_key"
        " WHERE NOT m.superseded AND m.subject_key <> ''",
        [m.tenant for m in named],
        [m.recipient for m in named],
        [m.subject_key for m in named],
    ):
        key = (row["tenant"], row["recipient"], row["subject_key"])
        standing.setdefault(key, {})[row["seq"]] = row["subject_version"]
    return standing


async def _insert(connection: Connection, added: Sequence[dict[str, Any]]) -> None:
    if added:
        await connection.execute(
            "INSERT INTO inbox_messages (tenant, recipient, seq, change_seq, notification,"
            " delivery, title, body, html, action_url, category, locale, subject_key,"
            " subject_version, labels, create_time, useless_after)"
            " SELECT * FROM jsonb_to_recordset($1) AS g (tenant text, recipient text, seq bigint,"
            " change_seq bigint, notification uuid, delivery uuid, title text, body text,"
            " html text, action_url text, category smallint, locale text, subject_key text,"
            " subject_version bigint, labels jsonb, create_time timestamptz,"
            " useless_after timestamptz)",
            list(added),
        )


async def _supersede(connection: Connection, replaced: Sequence[tuple[str, str, int, int]]) -> None:
    if replaced:
        await connection.execute(
            "UPDATE inbox_messages m SET superseded = true, change_seq = g.change_seq"
            " FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])"
            " AS g (tenant, recipient, seq, change_seq)"
            " WHERE m.tenant = g.tenant AND m.recipient = g.recipient AND m.seq = g.seq",
            *(list(column) for column in zip(*replaced, strict=True)),
        )


def _row(m: Message, *, seq: int, change_seq: int, now: datetime) -> dict[str, Any]:
    return {
        "tenant": m.tenant,
        "recipient": m.recipient,
        "seq": seq,
        "change_seq": change_seq,
        "notification": m.notification,
        "delivery": m.delivery,
        "title": m.subject,
        "body": m.text,
        "html": m.html,
        "action_url": m.action_url,
        "category": int(m.category),
        "locale": m.locale,
        "subject_key": m.subject_key,
        "subject_version": m.subject_version,
        "labels": dict(m.labels),
        "create_time": now.isoformat(),
        "useless_after": m.useless_after.isoformat(),
    }
