"""The Dockerfile, read: what it installs exists and is let through, nobody is root, names are those that manifests use.

It needs a registry to build from, so that no test builds it; docs/gateway.md says what was.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from edgewire import __version__

ROOT = Path(__file__).parents[1]
PROGRAMS = {"cloudcore": "cloudcore", "edgecore": "edgecore", "mappers": "mapper"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def stages() -> dict[str, list[str]]:
    """Stage -> its instructions, the first of which is FROM; an instruction over several lines is one."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if named := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            found[named[1]] = [line]
        elif line and not line.startswith(("#", "ARG BASE=")):
            found[list(found)[-1]].append(line)
    return found


def whole(stage: str) -> list[str]:
    """The instructions of a stage, after those of the stage that it begins with."""
    [first, *more] = stages()[stage]
    origin = first.split()[1]
    return more if origin == "${BASE}" else [*whole(origin), *more]


def let_through(path: str) -> bool:
    """Whether .dockerignore lets a file be copied: the last pattern that matches it, or a folder that it is in, says so."""
    kept = True
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern.startswith("#") or not pattern:
            continue
        if pattern.startswith("**/"):
            matched = any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts)
        else:
            matched = any(fnmatch.fnmatch(folder, pattern) for folder in above)
        if matched:
            kept = line.startswith("!")
    return kept


def copied() -> list[str]:
    """What is copied from the checkout."""
    lines = [line.split()[1:] for line in stages()["sources"] if line.startswith("COPY ")]
    return [name for words in lines for name in words[:-1]]


@pytest.mark.parametrize(("image", "program"), PROGRAMS.items())
def test_each_part_is_a_target_that_starts_its_program_as_nobody(image: str, program: str) -> None:
    instructions = whole(image)
    assert f"COPY --from=build-{image} /opt/hedgerow /opt/hedgerow" in instructions
    assert instructions[-1] == f"ENTRYPOINT {json.dumps([program])}"
    assert program in PROJECT["scripts"]
    users = [line for line in instructions if line.startswith("USER ")]
    assert users == ["USER 10000:10000"]
    after = instructions[instructions.index(users[0]) :]
    assert not [line for line in after if line.startswith("RUN ")], "nothing is done to an image but by its build"


@pytest.mark.parametrize("image", PROGRAMS)
def test_each_part_is_installed_with_extras_that_exist(image: str) -> None:
    [extras] = [
        found[1].split(",") for line in stages()[f"build-{image}"] if (found := re.search(r'"\.\[([a-z,]+)\]"', line))
    ]
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_the_base_has_a_python_that_hedgerow_supports() -> None:
    [version] = re.findall(
        r"^ARG BASE=docker.io/library/python:(3\.\d+)-slim$", (ROOT / "Dockerfile").read_text(), re.M
    )
    lowest, highest = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert int(lowest) <= int(version.removeprefix("3.")) < int(highest)


def test_what_is_copied_is_there_and_let_through_and_nothing_else_is() -> None:
    for name in copied():
        assert (ROOT / name).exists()
        assert let_through(name)
    assert let_through("cloud/manifests/rbac.yaml")
    for name in (".hedgerow/edge/pki/node.key", ".git/config", "users.yaml", "edgecore.yaml", "mappers/tests/fakes.py"):
        assert not let_through(name), name


def test_what_is_copied_is_enough(tmp_path: Path) -> None:
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    absent = [p.name for p in ROOT.iterdir() if p.is_dir() and not (tmp_path / p.name).exists()]
    modules = [entry.partition(":")[0] for name, entry in PROJECT["scripts"].items() if name != "hedgerow"]
    drivers = ["edge_gateway.builtin_broker", "edge_gateway.edged.assembly", "edge_gateway.mapper_process"]
    drivers += ["edge_gateway.edge_hub", "mappers.modbus", "mappers.serial_line", "mappers.ble"]
    imports = ", ".join([*modules, *drivers])
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {imports}; print(cloud.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_images_are_built_under_the_names_that_manifests_have() -> None:
    # Told what it would tell podman. It may be run by make itself, whose settings are not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "image", "ENGINE=echo"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=30)
    built = dict(re.findall(r"^build --target (\S+) --tag (\S+) \.$", said.stdout, re.M))
    assert built == {part: f"hedgerow/{part}:{__version__}" for part in PROGRAMS}
    used = set()
    for file in (*(ROOT / "cloud/manifests").glob("*.yaml"), *(ROOT / "mappers/manifests").rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            used |= set(re.findall(r"'image': '([^']+)'", str(document)))
    assert used == {built["cloudcore"], built["mappers"]}
