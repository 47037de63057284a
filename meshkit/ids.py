"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import secrets
import time
import uuid


def new_id(
    now_ms: int | None = None,
    random_bits: int | None = None,
) -> str:
    """
    Return a UUIDv7 as text (RFC 9562, 5.7): 48 bits of Unix milliseconds, 74 random bits.

    Args:
        now_ms: Unix time in milliseconds; the clock's by default.
        random_bits: At least 74 bits of chance; the system's by default.

    """
    ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    chance = secrets.randbits(74) if random_bits is None else random_bits
    high, low = chance >> 62 & 0xFFF, chance & (1 << 62) - 1
    value = (ms & (1 << 48) - 1) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    return str(uuid.UUID(int=value))
