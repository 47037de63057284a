"""`python -m telemetry serve` as a process that can be killed."""

import asyncio
import os
import signal as signals
import subprocess
import sys

import grpc

from meshkit.identity import IdentityFolder


class Service:
    """`python -m telemetry serve` as a process that can be killed."""

    def __init__(self, settings, ca, socket):
        identity = settings.state_dir.parent / "identity"
        IdentityFolder(identity).write(ca.material("telemetry"))
        self._environ = {
            **os.environ,
            "TELEMETRY_STATE_DIR": str(settings.state_dir),
            "TELEMETRY_IDENTITY_DIR": str(identity),
            "TELEMETRY_UNIX_SOCKET": str(socket),
            "TELEMETRY_SEGMENT_AGE": "0.2",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self._socket = socket
        self._process = None

    async def start(self, **environ):
        self._socket.unlink(missing_ok=True)
        self._spawn(environ)
        channel = grpc.aio.insecure_channel(f"unix:{self._socket}")
        async with asyncio.timeout(90):  # The first start on a machine compiles.
            await channel.channel_ready()
        return channel

    def _spawn(self, environ):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "telemetry", "serve"], env=self._environ | environ
        )

    def kill(self, number=signals.SIGKILL):
        self._process.send_signal(number)
        return self._process.wait(20)

    def end(self):
        """Kill it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def refused(self):
        """Start it, which fails; returns its exit code and what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "telemetry", "serve"],
            env=self._environ,
            check=False,
            capture_output=True,
            timeout=50,
        )
        return done.returncode, (done.stdout + done.stderr).decode()
