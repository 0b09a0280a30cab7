"""Edged: runs the pods of this node. `docs/pods.md` says what of a pod it honours.

pods.py              a pod as the cloud sends it: read, with pod_volumes.py;  pod_refusals.py  refused for what cannot be given
pod_fields.py        fields that nothing reads: refused, harmless, or told (core)
static_pods.py       pods from a folder of this node (shell)
container_life.py    cores: what a container, and a pod, does next, told the time and what happened; stopping.py is its end
pod_life.py          members.py  in which order containers run;  records.py  what is known of them and outlives edgecore
probing.py           probes: when they are due, and what their results mean (core); probe_calls.py makes them (shell)
pod_status.py        a pod's status as a kubelet reports it (core)
environment.py       a container's environment from the pod, ConfigMaps and Secrets (core)
volumes.py           what a container finds on its disk (shell)
evictions.py         pods that use more of the disk than they may go;  memory_disks.py  volumes in memory with a size (shells)
last_words.py        what containers say of their end (shell)
runtime.py           what runs containers: the protocol;  process.py  plain processes;  keeper.py, keeper_link.py …  their parent
podman.py            Podman as a runtime (shell), with podman_words.py (core), podman_cli.py and podman_images.py (shells)
service.py           the shell around all of it; performer.py  does what lives want;  ledger.py  saves and tells what they come to
"""


class EdgedError(Exception):
    """The base of everything that can be wrong with a pod or its runtime; the text is for its user."""
