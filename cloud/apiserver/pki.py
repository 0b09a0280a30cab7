"""The server's own certificate authority, and the certificates it makes for the server and for clients.

All of it lives in the data folder, readable by its owner only. The server never imports this; where
something is to be made, it runs `python -m cloud.apiserver.pki FOLDER NAME...`.
"""

import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud import issuing
from cloud.apiserver.identity import ClientCertificate, note, write_private
from cloud.issuing import Issued

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
CLIENT_LIFE = timedelta(days=365)
KUBELET_CLIENT, MASTERS = "kube-apiserver-kubelet-client", "system:masters"
"""Whom the server is to those that it asks for pods' logs; kubeadm's names."""


def make_server(folder: Path, names: list[str]) -> None:
    """Make a new server certificate for these names, of the folder's CA, which is made when there is none."""
    pki = folder / "pki"
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    hosts = [issuing.general_name(name) for name in names]
    made = issuing.issue(_ensure_ca(pki), "hedgerow-apiserver", issuing.SERVER, SERVER_LIFE, hosts=hosts)
    write_private(pki / "server.key", made.key_pem)
    write_private(pki / "server.crt", made.certificate_pem)
    client = issue_client(folder, KUBELET_CLIENT, [MASTERS])
    write_private(pki / "kubelet-client.key", client.key)
    write_private(pki / "kubelet-client.crt", client.certificate)
    note(pki, names, made.certificate.not_valid_after_utc)


def issue_client(folder: Path, name: str, groups: Iterable[str], life: timedelta = CLIENT_LIFE) -> ClientCertificate:
    """A new client certificate of the folder's CA: the name is its CN, each group an O. Raises OSError when there is no CA."""
    pki = folder / "pki"
    if not (pki / "ca.key").exists():
        raise FileNotFoundError(f"{pki / 'ca.key'} is missing: the server makes it at its first start")
    made = issuing.issue(_ensure_ca(pki), name, issuing.CLIENT, life, groups=groups)
    return ClientCertificate(made.certificate_pem, made.key_pem)


def _ensure_ca(pki: Path) -> Issued:
    certificate, key = pki / "ca.crt", pki / "ca.key"
    if certificate.exists() and key.exists():
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if isinstance(loaded, ec.EllipticCurvePrivateKey):
            return Issued(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))
    made = issuing.authority("hedgerow-apiserver-ca", CA_LIFE)
    write_private(key, made.key_pem)
    write_private(certificate, made.certificate_pem)
    return made


if __name__ == "__main__":
    try:
        make_server(Path(sys.argv[1]), sys.argv[2:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
