"""
Ways to reach a recipient. One module per channel; `CHANNELS` lists them all.

To add one: write `channels/<name>.py` with a `Channel` and a `Kind`, add it to `CHANNELS`,
and run `tests/contract/notifier/test_channels.py`, which picks it up from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.channels import email, inapp


if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.channels.seam import Kind

CHANNELS: Mapping[str, Kind] = {
    "email": email.KIND,
    "inapp": inapp.KIND,
}
