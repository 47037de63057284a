"""How long to wait before starting again what has ended. Pure: chance is an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double with each failure in a row, up to a maximum."""

    first_s: float = 0.2
    factor: float = 2.0
    at_most_s: float = 10.0

    jitter: float = 0.25
    """Share of a wait that chance may take away, so that parts don't start in step."""

    sound_after_s: float = 10.0
    """Having run this long, a part's next failure counts as its first."""

    def wait_s(self, failures: int, chance: float) -> float:
        """
        Return the wait after *failures* failures in a row.

        Args:
            failures: 1 or more.
            chance: From 0 to 1, drawn by the caller.

        """
        assert failures >= 1, "nobody waits after no failure"
        assert 0 <= chance <= 1
        # Beyond this many doublings it is the maximum anyway, and floats would overflow.
        doublings = min(failures - 1, 64)
        full = min(self.first_s * self.factor**doublings, self.at_most_s)
        return full * (1 - self.jitter * chance)

    def failures_after(self, failures: int, ran_s: float) -> int:
        """How many failures in a row it makes, when one more came after *ran_s* seconds."""
        return 1 if ran_s >= self.sound_after_s else failures + 1
