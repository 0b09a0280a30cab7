"""Kubeconfigs for further users of the embedded Kubernetes API."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

import yaml

from cloud.apiserver import credentials, identity, pki, roles
from cloud.apiserver.status import ApiError
from cloud.objects import is_name

Role = Literal["admin", "node", "viewer"]


class CredentialError(Exception):
    """No credential can be made; the text says why."""


def make(folder: Path, name: str, role: Role, *, token: bool = False, days: int = 365, server: str = "") -> bytes:
    """A kubeconfig for a user, with a fresh client certificate or, if asked, a fresh token.

    `folder` is that of the embedded API, which has run there before; `server` is its URL for this user, when it is not the
    one on this machine. Raises CredentialError.
    """
    if role == roles.NODE and not is_name(name):
        raise CredentialError(f"{name!r} is no name of a node: a-z, 0-9, - and . only")
    user = roles.user_of(role, name)
    try:
        url = server or yaml.safe_load((folder / "kubeconfig").read_bytes())["clusters"][0]["cluster"]["server"]
        if token:
            made: str | identity.ClientCertificate = credentials.make_token(folder, name, role)
        else:
            made = pki.issue_client(folder, user.name, user.groups, timedelta(days=days))
        ca = (folder / "pki" / "ca.crt").read_bytes()
    except OSError as error:
        raise CredentialError(f"no embedded Kubernetes API has run in {folder}: {error}") from error
    except ApiError as error:
        raise CredentialError(str(error)) from error
    return identity.kubeconfig(url, ca, user.name, made)
