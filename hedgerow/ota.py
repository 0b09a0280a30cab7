"""`hedgerow ota`: keys, signed images, and what a bundle holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from device_fw.tools import OLDEST_RUNTIME
from hedgerow import rollout

if TYPE_CHECKING:
    from device_fw.tools.image import Image

app = typer.Typer(no_args_is_help=True, help="Firmware updates over the air.")
rollout.register(app)

FAILED = 1


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="The private key to write; the public one goes beside it, FILE.pub.")],
) -> None:
    """Make the key that signs firmware. Boards trust the one they were flashed with, for good: keep it safe."""
    from device_fw.tools import signing
    from device_fw.tools.errors import FirmwareError

    try:
        signing.generate(file)
    except FirmwareError as error:
        _fail(str(error))
    typer.echo(f"{file}      signs firmware: keep it secret, and keep a copy")
    typer.echo(f"{file}.pub  goes onto the boards")


@app.command()
def build(
    source: Annotated[
        Path, typer.Argument(help="A board file (YAML), or a folder with the files as a slot holds them.")
    ],
    key: Annotated[Path, typer.Option(help="The private key of `hedgerow ota keygen`.")],
    version: Annotated[str, typer.Option(help="The version that boards report.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: BOARD-VERSION.hfw.")] = None,
    counter: Annotated[
        int | None,
        typer.Option(min=0, help="Boards take none lower than they had. Default: of the version, 1.4.2: 1004002."),
    ] = None,
    board: Annotated[str, typer.Option(help="The board it is for; needed for a folder.")] = "",
    arch: Annotated[
        str, typer.Option(help="Architecture of native code, such as armv6m; without it there is none.")
    ] = "",
    plain: Annotated[bool, typer.Option("--plain", help="Sources as they are, instead of compiled ones.")] = False,
    runtime: Annotated[str, typer.Option(help="The oldest MicroPython it runs on.")] = OLDEST_RUNTIME,
) -> None:
    """Put a firmware together, compile and sign it, and write a bundle."""
    from device_fw.tools import firmware, image, signing
    from device_fw.tools.errors import FirmwareError

    try:
        files, described = _sources(source)
        if not (board or described):
            _fail("--board is needed: a folder does not say which board it is for")
        if not plain:
            files = firmware.compiled(files, arch)
        mpy, native = image.bytecode_of(files)
        made = image.build(
            files,
            version=version,
            counter=image.counter_of(version) if counter is None else counter,
            board=board or described,
            runtime=runtime,
            mpy=mpy,
            arch=native,
            key=signing.load(key),
        )
        target = output or Path(f"{board or described}-{version}.hfw")
        image.save(made, target)
    except FirmwareError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot write {error.filename}: {error.strerror}")
    typer.echo(f"{target}: {_told(made)}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A bundle.")],
    key: Annotated[Path | None, typer.Option(help="Check the signature with this public key, FILE.pub.")] = None,
    files: Annotated[bool, typer.Option("--files", help="List its files too.")] = False,
) -> None:
    """Show what a bundle holds. Status 1 when it is damaged, or not signed with the key."""
    from device_fw.tools import image, signing
    from device_fw.tools.errors import FirmwareError

    try:
        found = image.load(file)
        public = signing.load_public(key) if key is not None else b""
    except FirmwareError as error:
        _fail(str(error))
    manifest = found.described
    good = bool(public) and signing.verified(public, found.manifest, found.signature)
    rows = {
        "id": found.id,
        "board": manifest.board,
        "version": manifest.version,
        "counter": str(manifest.counter),
        "runtime": f"MicroPython {manifest.runtime} or later",
        "bytecode": " ".join(filter(None, (manifest.mpy, manifest.arch))) or "none, sources",
        "size": f"{manifest.size()} bytes in {len(manifest.files)} files",
        "signature": "not checked: give --key" if key is None else f"by {key}" if good else f"NOT by {key}",
    }
    for name, value in rows.items():
        typer.echo(f"{name:<10} {value}")
    if files:
        for path, size, digest in manifest.files:
            typer.echo(f"{size:>10} {digest[:16]} {path}")
    if key is not None and not good:
        raise typer.Exit(FAILED)


def _sources(source: Path) -> tuple[dict[str, bytes], str]:
    """The files of a firmware, and the board where the source says it."""
    from device_fw.tools import board_file, firmware
    from device_fw.tools.errors import FirmwareError

    if source.is_dir():
        files = {p.relative_to(source).as_posix(): p.read_bytes() for p in sorted(source.rglob("*")) if _counts(p)}
        if "main.py" not in files and "main.mpy" not in files:
            raise FirmwareError(f"{source} holds no main.py: nothing would start")
        return files, ""
    described = board_file.load(source)
    return firmware.collect(described), described.board


def _counts(path: Path) -> bool:
    """Whether it belongs to the firmware: what CPython leaves beside sources does not."""
    return path.is_file() and "__pycache__" not in path.parts


def _told(image: "Image") -> str:
    manifest = image.described
    return (
        f"{manifest.version} for {manifest.board}, counter {manifest.counter}, {manifest.size()} bytes in "
        f"{len(manifest.files)} files, id {image.id[:16]}"
    )


def _fail(why: str) -> NoReturn:
    typer.echo(f"hedgerow: {why}", err=True)
    raise typer.Exit(FAILED)
