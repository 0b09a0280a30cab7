"""The volumes of a pod, typed: what they are made from. Names and meanings are Kubernetes' (core/v1 Volume)."""

from typing import Any

from msgspec import Struct, field

TOKEN_VOLUME = "kube-api-access-"
"""What the names of volumes begin with that a cluster adds to every pod for its service account."""


class Camel(Struct, rename="camel", frozen=True):
    """As Kubernetes writes names."""


class FieldRef(Camel, frozen=True):
    """A field of the pod."""

    field_path: str


class ResourceFieldRef(Camel, frozen=True):
    """A request or limit of a container."""

    resource: str
    container_name: str = ""
    divisor: str | int = "0"


class KeyToPath(Camel, frozen=True):
    """A key of a ConfigMap or Secret, and the file it becomes."""

    key: str
    path: str
    mode: int | None = None


class DownwardFile(Camel, frozen=True):
    """A field of the pod, and the file it becomes."""

    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class EmptyDir(Camel, frozen=True, forbid_unknown_fields=True):
    """A folder that lives as long as its pod."""

    medium: str = ""
    size_limit: str | int | None = None


class HostPath(Camel, frozen=True, forbid_unknown_fields=True):
    """A folder or file of the machine."""

    path: str
    type: str = ""


class KeyFiles(Camel, frozen=True):
    """The keys of a ConfigMap or Secret as files."""

    name: str = ""
    secret_name: str = ""
    """The name of a Secret that is a volume of its own."""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class DownwardFiles(Camel, frozen=True):
    """Fields of the pod as files."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class Source(Camel, frozen=True, forbid_unknown_fields=True):
    """One part of a projected volume."""

    config_map: KeyFiles | None = None
    secret: KeyFiles | None = None
    downward_api: DownwardFiles | None = field(name="downwardAPI", default=None)
    service_account_token: dict[str, Any] | None = None


class Projected(Camel, frozen=True, forbid_unknown_fields=True):
    """Files from several sources in one folder."""

    sources: tuple[Source, ...] = ()
    default_mode: int | None = None


class Volume(Camel, frozen=True, forbid_unknown_fields=True):
    """One volume, of one of these kinds; others are not known here."""

    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    config_map: KeyFiles | None = None
    secret: KeyFiles | None = None
    downward_api: DownwardFiles | None = field(name="downwardAPI", default=None)
    projected: Projected | None = None


def is_token_volume(volume: Volume) -> bool:
    """Whether it is the one that a cluster adds to every pod: a pod that asks for nothing must not fail for that."""
    return volume.name.startswith(TOKEN_VOLUME) and volume.projected is not None
