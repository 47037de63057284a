"""Whether a device's board is the server's board: pure, two positions in, a verdict out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum


REMEMBERED_MAX = 256


class Verdict(StrEnum):
    """What a comparison came to."""

    EQUAL = "equal"
    DIFFERENT = "different"
    BEHIND = "behind"
    """The device isn't there yet: compare again later."""

    PASSED = "passed"
    """The device went past the server's position without stopping there: compare anew."""


@dataclass(slots=True)
class Trail:
    """The last places a device stood at in one space, with the hash it had at each."""

    space_key: int = 0
    seq: int = -1
    _hashes: OrderedDict[int, bytes] = field(default_factory=OrderedDict)

    def stood(self, space_key: int, seq: int, state_hash: bytes) -> None:
        """Note where the device stands now."""
        if space_key != self.space_key:  # The space has begun a new life.
            self._hashes.clear()
            self.space_key = space_key
        self.seq = seq
        self._hashes[seq] = state_hash
        while len(self._hashes) > REMEMBERED_MAX:
            self._hashes.popitem(last=False)

    def compare(self, space_key: int, seq: int, state_hash: bytes) -> Verdict:
        """Compare with the server's position, wherever the device stood since."""
        if space_key != self.space_key or seq > self.seq:
            return Verdict.BEHIND
        had = self._hashes.get(seq)
        if had is None:
            return Verdict.PASSED
        return Verdict.EQUAL if had == state_hash else Verdict.DIFFERENT
