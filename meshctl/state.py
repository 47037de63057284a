"""
The state folder: all that a mesh keeps between two starts, in one place.

    lock            held by the meshctl that runs the mesh; says which one it is
    ports.json      port numbers, so that the second start has the first one's
    run -> ...      sockets; elsewhere when this path is too long for a socket's
    processes/      a file for each process that runs, to find it again after a crash
    logs/           what each part wrote, and one older file of it
    identity/       private keys and certificates
    join/           one-time tokens
    postgres/ ...   one folder for each part that keeps something
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meshctl import exits
from meshctl.faults import MeshctlError
from meshctl.private import write_private
from meshctl.processes import Trace


SOCKET_PATH_BYTES_MAX = 107
LONGEST_SOCKET = "postgres/.s.PGSQL.5432.lock"
PORT_FIRST, PORT_LAST = 20_000, 29_999
"""Below the range the kernel takes ports for outgoing connections from."""
PORT_TRIES_MAX = 200


def default_folder(environ: Mapping[str, str]) -> Path:
    """`$MESH_STATE`, or where the system keeps such things for this user."""
    if environ.get("MESH_STATE"):
        return Path(environ["MESH_STATE"]).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/aerofusion-mesh")
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "aerofusion-mesh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The meshctl that holds a state folder."""

    pid: int
    control: Path


class State:
    """One state folder. Methods that write need the lock (`hold`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self._ports: dict[str, int] = {}
        self._decided: set[str] = set()

    @property
    def control(self) -> Path:
        return self.run / "control.sock"

    @property
    def processes(self) -> Path:
        return self.folder / "processes"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def log_file(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """
        Make the folder if absent and be the only one to use it.

        Raises:
            MeshctlError: Another meshctl holds it.

        """
        # Others may pass through, as the database's user has to; what is secret has
        # a folder of its own that only we may open.
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._held() from None
            for name in ("processes", "logs", "identity", "join"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            self._place_run()
            self._ports = self._read("ports.json")
            self._decided = set()
            os.ftruncate(descriptor, 0)
            words = json.dumps({"pid": os.getpid(), "control": str(self.control)})
            os.pwrite(descriptor, words.encode(), 0)
            yield
            self._leave_run()
        finally:
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Who holds the folder at this moment."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                found = json.loads(os.pread(descriptor, 4096, 0))
            except ValueError:  # It has the lock and hasn't written yet.
                return Holder(pid=0, control=self.control)
            return Holder(pid=found["pid"], control=Path(found["control"]))
        finally:
            os.close(descriptor)
        return None

    def port(self, name: str, wanted: int = 0) -> int:
        """
        The port called *name*: *wanted*, or the one it had, or a free one.

        Decided at the first call; from then on its part may be using it.

        Raises:
            MeshctlError: *wanted* is taken, or none was found.

        """
        if name in self._decided:
            return self._ports[name]
        had = self._ports.get(name, 0)
        port = wanted or (had if had and is_free(had) else 0)
        if not port:
            taken = set(self._ports.values())
            tries = (random.randint(PORT_FIRST, PORT_LAST) for _ in range(PORT_TRIES_MAX))  # noqa: S311
            port = next((port for port in tries if port not in taken and is_free(port)), 0)
        if not port:
            raise MeshctlError("No free port was found.", exit_code=exits.CONFIG)
        if not is_free(port):
            raise MeshctlError(
                f"Port {port} is taken{_by_whom(port)}.",
                f"another one, or none to have one chosen: --port-{name} 0",
                exit_code=exits.CONFIG,
            )
        self._ports[name] = port
        self._decided.add(name)
        self.write("ports.json", self._ports)
        return port

    def remember(self, part: str, process: Trace) -> None:
        """Have *process* found again by a later run, or by the guard."""
        write_private(
            self.processes / f"{part}.json",
            json.dumps({**asdict(process), "keeper": os.getpid()}).encode(),
        )

    def forget(self, part: str) -> None:
        (self.processes / f"{part}.json").unlink(missing_ok=True)

    def remembered(self) -> dict[str, Trace]:
        """Processes that were running when the supervisor last was."""
        found = {}
        for path in sorted(self.processes.glob("*.json")):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                record = json.loads(path.read_text())
                del record["keeper"]
                found[path.stem] = Trace(**record)
        return found

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace the file *name* by *content* as JSON, whole or not at all, for us only."""
        write_private(self.folder / name, json.dumps(content, indent=1).encode())

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise MeshctlError(
                f"{self.folder / name} can't be read: {error}.",
                "remove that file",
                exit_code=exits.CONFIG,
            ) from None
        return found if isinstance(found, dict) else {}

    def _place_run(self) -> None:
        """Have `run` lead to a folder whose path is short enough for sockets."""
        longest = len(os.fsencode(self.run / LONGEST_SOCKET))
        if longest <= SOCKET_PATH_BYTES_MAX:
            self.run.mkdir(mode=0o711, exist_ok=True)
            return
        link = self.run
        with contextlib.suppress(FileNotFoundError, OSError):
            place = link.readlink()
            if place.is_dir() and place.stat().st_uid == os.geteuid():
                self.run = place
                return
        place = Path(tempfile.mkdtemp(prefix="mesh-", dir="/tmp"))
        place.chmod(0o711)
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        self.run = place

    def _leave_run(self) -> None:
        """Leave nothing outside the state folder. After a crash it stays and is taken again."""
        link = self.folder / "run"
        if link.is_symlink():
            shutil.rmtree(self.run, ignore_errors=True)
            link.unlink()
            self.run = link

    def _held(self) -> MeshctlError:
        holder = self.holder()
        who = f"process {holder.pid}" if holder and holder.pid else "another meshctl"
        return MeshctlError(
            f"A mesh already runs on {self.folder}, started by {who}.",
            f"`meshctl status` to see it, `meshctl down` to stop it"
            f" (with --state {self.folder} unless that is the default)",
            exit_code=exits.ALREADY_RUNNING,
        )


def is_free(port: int) -> bool:
    """Whether somebody could listen on *port* of the loopback address now."""
    with socket.socket() as probe:
        # As servers do: connections of the last one that are still closing don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _by_whom(port: int) -> str:
    import psutil  # noqa: PLC0415 - only where a port is taken

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
