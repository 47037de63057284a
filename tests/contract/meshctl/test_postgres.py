"""What the services may rely on from the PostgreSQL that meshctl runs."""

import os
import shutil
import stat
from pathlib import Path

import asyncpg
import pytest

from meshctl.faults import MeshctlError
from meshctl.parts.postgres import packaged_install
from meshctl.processes import session_members, trace


async def test_committed_data_is_there_after_a_kill_and_a_start(own_postgres):
    dsn = await own_postgres.database("kept")
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (n int)")
    await connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
    leader = trace(own_postgres.pid)
    own_postgres.kill()
    left_behind = session_members(leader)
    own_postgres.start()
    again = await asyncpg.connect(dsn)

    assert left_behind == []
    assert await again.fetchval("SELECT count(*) FROM kept") == 1000
    await again.close()
    connection.terminate()


async def test_pages_carry_checksums_and_only_a_socket_is_open(postgres):
    connection = await asyncpg.connect(await postgres.database("settings"))

    assert await connection.fetchval("SHOW data_checksums") == "on"
    assert await connection.fetchval("SHOW listen_addresses") == ""
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    await connection.close()


async def test_a_role_reaches_its_own_database_and_no_other(postgres):
    mine = await postgres.database("mine")
    theirs = await postgres.database("theirs")
    my_name, their_name = (
        dsn.split("@")[0].removeprefix("postgresql://") for dsn in (mine, theirs)
    )
    foreign = postgres.cluster.dsn(their_name, role=my_name)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)


async def test_a_wrong_password_is_refused(postgres):
    dsn = await postgres.database("locked")
    role = dsn.split("@")[0].removeprefix("postgresql://")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=str(postgres.cluster.run), user=role, database=role, password="guess"
        )


async def test_passwords_are_readable_by_their_owner_only(postgres):
    await postgres.database("secret")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in postgres.cluster.passwords.iterdir()}

    assert modes == {0o600}
    assert stat.S_IMODE(postgres.cluster.passwords.stat().st_mode) == 0o700


async def test_making_a_database_twice_changes_nothing(postgres):
    await postgres.cluster.ensure_databases("twice")
    connection = await asyncpg.connect(postgres.cluster.dsn("twice"))
    await connection.execute("CREATE TABLE t (n int)")
    await postgres.cluster.ensure_databases("twice")

    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    await connection.close()


async def test_a_lock_file_that_names_another_program_does_not_keep_it_from_starting(own_postgres):
    own_postgres.kill()
    lock = own_postgres.cluster.data / "postmaster.pid"
    lines = lock.read_text().split("\n")
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    own_postgres.start()

    assert own_postgres.running


async def test_data_of_another_version_is_refused_by_name(own_postgres):
    own_postgres.stop()
    (own_postgres.cluster.data / "PG_VERSION").write_text("17\n")

    with pytest.raises(MeshctlError, match="is PostgreSQL 17's; this is 18"):
        own_postgres.cluster.prepare()


def test_the_server_is_never_root_and_owns_only_what_is_its(own_postgres):
    owner = own_postgres.cluster.data.stat().st_uid
    process = Path(f"/proc/{own_postgres.pid}").stat().st_uid

    assert owner == process != 0
    assert own_postgres.cluster.folder.stat().st_uid == os.geteuid()


async def test_binaries_that_its_user_cannot_reach_are_copied_whole(monkeypatch, own_postgres):
    """As in a checkout in somebody's private folder, run by root."""
    own_postgres.stop()
    private = own_postgres.log.parent / "private"
    package = packaged_install()
    libraries = package.parent.with_name(f"{package.parent.name}.libs")
    moved = private / package.parent.name / package.name
    shutil.copytree(package, moved, symlinks=True)
    shutil.copytree(libraries, private / libraries.name, symlinks=True)
    private.chmod(0o700)
    monkeypatch.setattr("meshctl.parts.postgres.packaged_install", lambda: moved)
    own_postgres.start()
    connection = await asyncpg.connect(await own_postgres.database("copied"))

    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    used = Path(f"/proc/{own_postgres.pid}/exe").resolve()
    assert used.is_relative_to(own_postgres.cluster.folder) == (os.geteuid() == 0)
