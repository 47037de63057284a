"""What can go wrong while running a mesh, said so that the reader can act."""

from __future__ import annotations

from meshkit.errors import MeshError


class MeshctlError(Exception):
    """
    Something a person has to see.

    Args:
        problem: What failed, in one sentence.
        remedy: What to try, as a command or an action; printed after `Try: `.
        exit_code: Of the command, when nobody handles it; the codes stand in `meshctl.exits`.
        refusal: What a service said, if one refused.

    """

    def __init__(
        self,
        problem: str,
        remedy: str = "",
        *,
        exit_code: int = 1,
        refusal: MeshError | None = None,
    ) -> None:
        super().__init__(problem)
        self.remedy = remedy
        self.exit_code = exit_code
        self.refusal = refusal
