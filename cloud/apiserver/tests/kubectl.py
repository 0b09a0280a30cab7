"""The real kubectl for tests, on whatever cluster they run on."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping

import pytest

KUBECTL = shutil.which("kubectl")
TIMEOUT_S = 30
Kubectl = Callable[..., str]


def needs_kubectl() -> None:
    """Skip the module that calls this where there is no kubectl; in CI that is an error."""
    why = "kubectl is not installed: nothing here was tested"
    if KUBECTL is None:
        if os.environ.get("CI"):
            raise RuntimeError(why)
        pytest.skip(why, allow_module_level=True)


def runner(environment: Mapping[str, str], namespace: str) -> Kubectl:
    """A function that runs kubectl in the namespace: its standard output; fails the test when it fails."""

    def run(*arguments: str, stdin: str = "", expect: int = 0, **more: str) -> str:
        assert KUBECTL is not None
        done = subprocess.run(
            [KUBECTL, "--namespace", namespace, *arguments],
            env={**environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == expect, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if expect else "")

    return run
