"""A Maildir that keeps only the newest mails."""

from __future__ import annotations

from collections import deque
from pathlib import Path


class BoundedMaildir:
    """
    Mails in `new/` of *folder*, at most *mails_max* of them.

    Any mail reader that knows Maildir can read it. Mails that a reader has moved to `cur/` count
    and are removed in their turn too.
    """

    def __init__(self, folder: Path, mails_max: int) -> None:
        assert mails_max >= 1, "settings say so"
        self._folder = folder
        self._mails_max = mails_max
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for unfinished in (folder / "tmp").iterdir():
            unfinished.unlink()
        found = [path for name in ("new", "cur") for path in (folder / name).iterdir()]
        self._ids = deque(sorted(path.name.partition(":")[0] for path in found))
        self._remove_oldest()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, mail_id: str, content: bytes) -> None:
        """
        Keep a mail under *mail_id*, which must sort after all before it.

        Raises:
            OSError: It couldn't be written; nothing of it is left in `new/`.

        """
        written = self._folder / "tmp" / mail_id
        written.write_bytes(content)
        written.replace(self._folder / "new" / mail_id)
        self._ids.append(mail_id)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        while len(self._ids) > self._mails_max:
            oldest = self._ids.popleft()
            (self._folder / "new" / oldest).unlink(missing_ok=True)
            for read in (self._folder / "cur").glob(f"{oldest}:*"):
                read.unlink(missing_ok=True)
