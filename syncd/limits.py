"""Every bound of what syncd takes and keeps, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds; beyond them a request is refused with a reason, never slowed down silently."""

    fields_max: int = 128
    """Fields of a schema; their numbers fit in one byte."""

    roles_max: int = 16
    """Roles in each list of an access policy."""

    subjects_max: int = 256
    """Subjects in each list of an access policy."""

    spaces_per_tenant_max: int = 100_000
    """Spaces of one tenant."""

    records_max: int = 100_000
    """Records a space ever had, removed ones included."""

    batch_mutations_max: int = 500
    """Mutations of one push."""

    operations_max: int = 256
    """Operations of one mutation."""

    value_bytes_max: int = 64 * 1024
    """Bytes of one value."""

    mutation_bytes_max: int = 512 * 1024
    """Ids, names and values of one mutation; also what a delta may exceed its page by."""

    clock_ahead_max: timedelta = timedelta(seconds=2)
    """How far ahead of the server's clock a device's clock counts."""

    page_cells_max: int = 5_000
    """Cells, new records and removals, each, of one delta."""

    page_bytes_max: int = 1024 * 1024
    """Bytes of values in one delta, give or take one mutation."""

    overtaking_max: int = 10_000
    """Newer mutations of its device, still unconfirmed, that a late one is compared with."""

    write_queue_max: int = 10_000
    """Mutations waiting for the database in one space of one process."""

    write_group_max: int = 500
    """Mutations committed together."""

    subscriptions_max: int = 64
    """Spaces one session follows."""

    sessions_max: int = 10_000
    """Sessions of one process with an open stream."""

    pushes_queued_max: int = 16
    """Frames of one stream that wait while it is busy; beyond it the stream isn't read."""

    frames_cached_max: int = 64
    """Encoded deltas kept per space, for those who come from the same cursor."""

    result_days: int = 30
    """Days the results of mutations and the losers of conflicts are kept."""

    request_hours: int = 24
    """Hours a `request_id` is recognised."""
