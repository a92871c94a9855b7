"""Ceph's object gateway on this machine: a real S3 server, with troubles of its own."""

import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

KEY, SECRET = "testing", "a-planted-secret"  # the same that every test of S3 uses
NEEDED = "ceph-mon ceph-osd ceph-common radosgw"  # Debian packages


@dataclass(frozen=True)
class Gateway:
    """A cluster of one storage daemon with its gateway, under a folder."""

    tool: Path
    folder: Path
    endpoint: str

    @classmethod
    def start(cls, shared: Path, folder: Path) -> Self:
        """Starts one from nothing in half a minute; skips the test where it cannot be."""
        tool = shared / "tools" / "s3_rgw.sh"
        if not tool.is_file():
            pytest.skip(f"{tool} is not there: set MASKLET_SHARED to the folder of test data")
        if not all(map(shutil.which, ("ceph-mon", "ceph-osd", "ceph", "radosgw"))):
            pytest.skip(f"Ceph is not installed: apt-get install --no-install-recommends {NEEDED}")
        port, monitor = free_port(), free_port()
        gateway = cls(tool, folder, f"http://127.0.0.1:{port}")
        keys = ("--access-key", KEY, "--secret-key", SECRET)
        gateway.tell("start", "--port", str(port), "--mon-port", str(monitor), *keys)
        return gateway

    def tell(self, verb: str, *more: str) -> None:
        """Does what the tool calls so: freeze, thaw, quota, kill-gateway, start-gateway, stop."""
        words = ["bash", str(self.tool), verb, str(self.folder), *more]
        with (self.folder.parent / "gateway.log").open("ab") as log:  # daemons keep it open
            subprocess.run(words, check=True, stdout=log, stderr=log, timeout=180)

    def limit_requests(self, number: int) -> None:
        """More than so many at once are refused, from now on."""
        config = self.folder / "ceph.conf"
        name = "rgw max concurrent requests"
        lines = config.read_text().splitlines()
        lines = [f"{name} = {number}" if line.startswith(name) else line for line in lines]
        config.write_text("\n".join(lines) + "\n")
        self.tell("restart-gateway")


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
