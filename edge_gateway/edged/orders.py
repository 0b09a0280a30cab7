"""How a container is to be started: its environment, command line, mounts and log, from the pod and what it names."""

import shutil
from collections.abc import Collection
from pathlib import Path

from edge_gateway.edged.environment import Content, Facts, command_line, environment
from edge_gateway.edged.pods import Container, Pod
from edge_gateway.edged.runtime import RunId, StartOrder
from edge_gateway.edged.volumes import Volumes


class Orders:
    """Of one node."""

    def __init__(self, facts: Facts, content: Content, volumes: Volumes, logs: Path) -> None:
        """`content` gives ConfigMaps and Secrets; `logs` is the folder of containers' logs, laid out as a kubelet's."""
        self.facts = facts
        self._content = content
        self._volumes = volumes
        self._logs = logs

    def order(self, pod: Pod, container: Container, attempt: int, address: str = "") -> StartOrder:
        """How to start a container of a pod that has this address of its own. Raises Missing, VolumeError."""
        env = environment(pod, container, self.facts._replace(pod_address=address), self._content)
        if self._volumes.local_api.asked(pod):
            env = {**self._volumes.local_api.environment(pod, address, self._volumes.access_place(pod)), **env}
        mounts = tuple(self._volumes.mounts(pod, container, env))
        of = pod.spec.security_context
        groups = (*of.supplemental_groups, *([of.fs_group] if of.fs_group is not None else []))
        id = RunId(pod.uid, container.name, attempt)
        log_file = self.log_file(pod, container.name, attempt)
        return StartOrder(id, pod, container, command_line(container, env), env, mounts, groups, log_file)

    def log_file(self, pod: Pod, container: str, attempt: int) -> Path:
        """Where an attempt's log is."""
        return self.log_folder(pod) / container / f"{attempt}.log"

    def forget_log(self, pod: Pod, container: str, attempt: int) -> None:
        """An attempt's log is too old."""
        if attempt >= 0:
            file = self.log_file(pod, container, attempt)
            for path in (file, file.with_name(file.name + ".1")):
                path.unlink(missing_ok=True)

    def remove_logs(self, pod: Pod) -> None:
        """The pod is gone: so are its logs."""
        shutil.rmtree(self.log_folder(pod), ignore_errors=True)

    def keep_logs_of(self, uids: Collection[str]) -> None:
        """Remove the logs of all other pods."""
        if self._logs.is_dir():
            for folder in self._logs.iterdir():
                if folder.name.rpartition("_")[2] not in uids:
                    shutil.rmtree(folder, ignore_errors=True)

    def log_folder(self, pod: Pod) -> Path:
        """Where a pod's logs are."""
        return self._logs / f"{pod.metadata.namespace}_{pod.metadata.name}_{pod.uid}"
