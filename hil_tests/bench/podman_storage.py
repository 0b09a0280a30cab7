"""A Podman of its own for tests: storage in a folder, one image that is made on the spot, and nothing left behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

IMAGE = "localhost/busybox:1"
NEEDS = ("podman", "runc", "conmon", "catatonit", "busybox")
_APPLETS = (
    *(
        "sh",
        "cat",
        "chmod",
        "date",
        "echo",
        "env",
        "false",
        "fold",
        "grep",
        "head",
        "hostname",
        "httpd",
        "id",
        "kill",
        "ls",
    ),
    *("mkdir", "nc", "printf", "ps", "seq", "setsid", "sleep", "stat", "tail", "test", "touch", "tr", "true", "wget"),
)

# A machine where not everything is allowed, such as a container, needs these; a real node does not.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""
_STORAGE = """
[storage]
driver = "vfs"
runroot = "{folder}/run"
graphroot = "{folder}/graph"
"""


def lacking() -> str:
    """What of a Podman this machine lacks; empty when it has all."""
    found = [name for name in NEEDS if shutil.which(name) is None and not Path(f"/usr/libexec/podman/{name}").exists()]
    if found:
        return f"not installed: {', '.join(found)}"
    return "" if os.geteuid() == 0 else "not root, and a Podman of its own needs that here"


class PodmanFailed(Exception):
    """What podman says when it does not do what it is told."""


class PodmanStorage:
    """In a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: Mapping[str, str] = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def make(self) -> None:
        """Have it ready, with the image. Raises PodmanFailed where this machine may run no containers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("containers.conf", _CONTAINERS), ("storage.conf", _STORAGE)):
            (self.folder / name).write_text(content.format(folder=self.folder))
        root = self.folder / "root.tar"
        with tarfile.open(root, "w") as tar:
            tar.add(Path(shutil.which("busybox") or "").resolve(), "bin/busybox")
            for applet in _APPLETS:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            for name, mode in (("tmp", 0o1777), ("etc", 0o755)):
                made = tarfile.TarInfo(name)
                made.type, made.mode = tarfile.DIRTYPE, mode
                tar.addfile(made)
        self(
            "import",
            "--quiet",
            "--change",
            "ENV PATH=/bin",
            "--change",
            'CMD ["echo","from the image"]',
            str(root),
            IMAGE,
        )
        self("run", "--rm", "--pod", "new:can-it", IMAGE, "true")
        self.clear()

    def __call__(self, *words: str) -> str:
        """What podman prints. Raises PodmanFailed."""
        done = subprocess.run(
            ["podman", *words], env={**os.environ, **self.env}, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            raise PodmanFailed(done.stderr.strip())
        return done.stdout

    def clear(self) -> None:
        """End every container."""
        self("pod", "rm", "--all", "--force", "--time", "0")
        self("rm", "--all", "--force", "--time", "0")

    def containers(self) -> int:
        """How many containers of pods run, sandboxes not counted."""
        return len(self("ps", "--quiet", "--filter", "label=hedgerow.dev/run").split())

    def power_cut(self, *, processes: bool = True) -> None:
        """Everything that runs is gone at once, and so is what was in memory, as after a restart of the machine.

        Without `processes` it is Podman alone that has lost everything: what runs in containers goes on.
        """
        ids = self("ps", "--quiet").split()
        found = json.loads(self("container", "inspect", *ids)) if ids else []
        for name in ("ConmonPid", *(["Pid"] if processes else [])):  # conmon first, so that it notes no end
            for state in (container["State"] for container in found):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(state[name], signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        sandboxes = {container["NetworkSettings"]["SandboxKey"] for container in found} - {""}
        for mount in reversed(mounts):
            if mount.startswith(f"{self.folder}/") or mount in sandboxes:
                subprocess.run(["umount", "--lazy", mount], check=True, timeout=30)
        for gone in (*(Path(key) for key in sandboxes), self.folder / "run", self.folder / "tmp"):
            shutil.rmtree(gone, ignore_errors=True) if gone.is_dir() else gone.unlink(missing_ok=True)

    def remove(self) -> None:
        """Leave nothing."""
        self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
