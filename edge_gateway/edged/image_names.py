"""Names of images: with a registry and a tag, and as Podman calls what it was given without. A core."""


def full_name(name: str) -> str:
    """An image's name with its registry, and its tag: docker.io's where it says none (distribution's reference.go)."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name if has_tag(name) else f"{name}:latest"


def has_tag(name: str) -> bool:
    """Whether a name says which version it means."""
    return ":" in name.rpartition("/")[2] or "@" in name


def spellings(name: str) -> set[str]:
    """What an image may be called on the machine that a container calls so."""
    tagged = name if has_tag(name) else f"{name}:latest"
    found = {tagged, full_name(name), f"localhost/{tagged}"}
    return found | {_without_tag(spelled) for spelled in found if "@" in spelled}


def _without_tag(name: str) -> str:
    """A name with a digest alone: a tag beside it says nothing."""
    path, _, digest = name.partition("@")
    folder, slash, last = path.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}@{digest}"
