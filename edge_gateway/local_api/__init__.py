"""The local API: Kubernetes-shaped, on this machine only, answered from what the gateway has.

`docs/local-api.md` is for its users.

refusals.py   every answer that is no success, as a Kubernetes Status
selectors.py  label and field selectors
versions.py   which object changed when: resource versions, and what a watch is told
nodes.py      objects as they are served: the Node from what the machine says of itself, Devices with their live twins
objects.py
tables.py     what kubectl prints
discovery.py  what there is
changes.py    patches, and which desired values they mean
access.py     tokens and rights;  pod_tokens.py, pod_access.py  those of pods;  renewal.py  a service that keeps them young
requests.py   what is asked, and what it is about;  paging.py  pages of lists;  logs.py  which log
openapi.py    what kubectl edits and applies by
views.py      what lists and watches show
resources.py  the core: a request in; an answer, a log, a watch or a write out
server.py     the shell: HTTP/1.1 on a unix socket, and with TLS on loopback;  wire.py  a connection's bytes
certificate.py  what TLS needs;  pod_network.py  where pods reach us;  setup.py  builds it;  token_command.py  `edgecore token`
"""


class LocalApiError(Exception):
    """The base of everything that can be wrong with the local API or a request to it."""
