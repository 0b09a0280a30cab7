"""The shape of built-in objects as far as this server looks into them: which parts are objects, lists, text or numbers.

Everything else in them is kept as it comes. kube-apiserver decodes into typed structs and refuses another shape with 400; so does
this server, for the fields that its rules, columns and selectors read.
"""

from typing import Any

from cloud.apiserver.schema import Schema

_TEXT = {"type": "string", "nullable": True}
_WHOLE = {"type": "integer", "nullable": True}
_FLAG = {"type": "boolean", "nullable": True}


def _object(**properties: Any) -> dict[str, Any]:
    kept = {"nullable": True, "x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "properties": properties} | kept


def _list(item: Any) -> dict[str, Any]:
    # None of its items is null: kube-apiserver would make an empty one of it, and everybody who reads these lists expects one.
    return {"type": "array", "items": item | {"nullable": False}, "nullable": True}


def _map(value: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": value, "nullable": True}


_CONDITION = _object(type=_TEXT, status=_TEXT, reason=_TEXT, message=_TEXT)
_FIELD = _object(apiVersion=_TEXT, fieldPath=_TEXT)
_HANDLER = _object(httpGet=_object(path=_TEXT, scheme=_TEXT))
_CONTAINER = _object(
    name=_TEXT,
    image=_TEXT,
    imagePullPolicy=_TEXT,
    restartPolicy=_TEXT,
    resources=_object(requests=_object(), limits=_object()),
    env=_list(_object(name=_TEXT, value=_TEXT, valueFrom=_object(fieldRef=_FIELD))),
    ports=_list(_object(name=_TEXT, containerPort=_WHOLE, hostPort=_WHOLE, hostIP=_TEXT, protocol=_TEXT)),
    volumeMounts=_list(_object(name=_TEXT, mountPath=_TEXT)),
    livenessProbe=_HANDLER,
    readinessProbe=_HANDLER,
    startupProbe=_HANDLER,
    lifecycle=_object(postStart=_HANDLER, preStop=_HANDLER),
)
_VOLUME = _object(
    name=_TEXT,
    secret=_object(),
    configMap=_object(),
    downwardAPI=_object(items=_list(_object(fieldRef=_FIELD))),
    projected=_object(),
    hostPath=_object(type=_TEXT),
)
_REQUIREMENT = _object(key=_TEXT, operator=_TEXT, values=_list({"type": "string"}))
_TERM = _object(matchExpressions=_list(_REQUIREMENT), matchFields=_list(_REQUIREMENT))
_NODE_AFFINITY = _object(
    requiredDuringSchedulingIgnoredDuringExecution=_object(nodeSelectorTerms=_list(_TERM)),
    preferredDuringSchedulingIgnoredDuringExecution=_list(_object(weight=_WHOLE, preference=_TERM)),
)
_SELECTOR = _object(matchLabels=_map(_TEXT), matchExpressions=_list(_REQUIREMENT))
_POD_TERM = _object(
    topologyKey=_TEXT, labelSelector=_SELECTOR, namespaces=_list({"type": "string"}), namespaceSelector=_SELECTOR
)
_POD_AFFINITY = _object(requiredDuringSchedulingIgnoredDuringExecution=_list(_POD_TERM))
_SPREAD = _object(topologyKey=_TEXT, maxSkew=_WHOLE, whenUnsatisfiable=_TEXT, labelSelector=_SELECTOR)
_TOLERATION = _object(key=_TEXT, operator=_TEXT, value=_TEXT, effect=_TEXT, tolerationSeconds=_WHOLE)
_CONTAINER_STATUS = _object(
    name=_TEXT,
    ready=_FLAG,
    restartCount=_WHOLE,
    state=_object(waiting=_object(reason=_TEXT), running=_object(), terminated=_object(reason=_TEXT, exitCode=_WHOLE)),
)

_POD_SPEC = _object(
    nodeName=_TEXT,
    restartPolicy=_TEXT,
    schedulerName=_TEXT,
    serviceAccountName=_TEXT,
    hostNetwork=_FLAG,
    terminationGracePeriodSeconds=_WHOLE,
    containers=_list(_CONTAINER),
    initContainers=_list(_CONTAINER),
    volumes=_list(_VOLUME),
    activeDeadlineSeconds=_WHOLE,
    dnsPolicy=_TEXT,
    affinity=_object(nodeAffinity=_NODE_AFFINITY, podAffinity=_POD_AFFINITY, podAntiAffinity=_POD_AFFINITY),
    topologySpreadConstraints=_list(_SPREAD),
    overhead=_object(),
    schedulingGates=_list(_object(name=_TEXT)),
    readinessGates=_list(_object(conditionType=_TEXT)),
    nodeSelector=_map(_TEXT),
    tolerations=_list(_TOLERATION),
)
_POD = _object(
    spec=_POD_SPEC,
    status=_object(
        phase=_TEXT,
        reason=_TEXT,
        podIP=_TEXT,
        nominatedNodeName=_TEXT,
        conditions=_list(_CONDITION),
        containerStatuses=_list(_CONTAINER_STATUS),
        initContainerStatuses=_list(_CONTAINER_STATUS),
    ),
)
_NODE = _object(
    spec=_object(unschedulable=_FLAG, podCIDR=_TEXT, taints=_list(_object(key=_TEXT, value=_TEXT, effect=_TEXT))),
    status=_object(
        conditions=_list(_CONDITION),
        addresses=_list(_object(type=_TEXT, address=_TEXT)),
        nodeInfo=_map(_TEXT) | {"additionalProperties": True},
        capacity=_object(),
        allocatable=_object(),
    ),
)
_AMOUNT = {"x-kubernetes-int-or-string": True, "nullable": True}
_ROLLING = _object(maxSurge=_AMOUNT, maxUnavailable=_AMOUNT)
_TEMPLATE = _object(metadata=_object(labels=_map(_TEXT), annotations=_map(_TEXT)), spec=_POD_SPEC)
_CONDITIONS = {"observedGeneration": _WHOLE, "conditions": _list(_CONDITION)}
_SETS = {"selector": _SELECTOR, "template": _TEMPLATE, "minReadySeconds": _WHOLE}
_DEPLOYMENT = _object(
    spec=_object(
        **_SETS,
        replicas=_WHOLE,
        revisionHistoryLimit=_WHOLE,
        progressDeadlineSeconds=_WHOLE,
        paused=_FLAG,
        strategy=_object(type=_TEXT, rollingUpdate=_ROLLING),
    ),
    status=_object(
        **_CONDITIONS, replicas=_WHOLE, readyReplicas=_WHOLE, availableReplicas=_WHOLE, updatedReplicas=_WHOLE
    ),
)
_REPLICA_SET = _object(
    spec=_object(**_SETS, replicas=_WHOLE),
    status=_object(**_CONDITIONS, replicas=_WHOLE, readyReplicas=_WHOLE, availableReplicas=_WHOLE),
)
_DAEMON_SET = _object(
    spec=_object(**_SETS, revisionHistoryLimit=_WHOLE, updateStrategy=_object(type=_TEXT, rollingUpdate=_ROLLING)),
    status=_object(**_CONDITIONS),
)
_CONFIG_MAP = _object(data=_map(_TEXT), binaryData=_map(_TEXT), immutable=_FLAG)
_SECRET = _object(data=_map(_TEXT), stringData=_map(_TEXT), type=_TEXT, immutable=_FLAG)
_NAMESPACE = _object(spec=_object(finalizers=_list(_TEXT)), status=_object(phase=_TEXT, conditions=_list(_CONDITION)))
_SERVICE_ACCOUNT = _object(secrets=_list(_object(name=_TEXT)), imagePullSecrets=_list(_object(name=_TEXT)))
_LEASE = _object(
    spec=_object(
        holderIdentity=_TEXT,
        leaseDurationSeconds=_WHOLE,
        leaseTransitions=_WHOLE,
        acquireTime=_TEXT,
        renewTime=_TEXT,
    )
)
_ABOUT = _object(
    kind=_TEXT, namespace=_TEXT, name=_TEXT, uid=_TEXT, apiVersion=_TEXT, resourceVersion=_TEXT, fieldPath=_TEXT
)
_EVENT = _object(
    involvedObject=_ABOUT,
    related=_ABOUT,
    reason=_TEXT,
    message=_TEXT,
    type=_TEXT,
    source=_object(component=_TEXT, host=_TEXT),
    series=_object(count=_WHOLE, lastObservedTime=_TEXT),
    reportingComponent=_TEXT,
    firstTimestamp=_TEXT,
    lastTimestamp=_TEXT,
    eventTime=_TEXT,
    count=_WHOLE,
)
_DEFINITION = _object(
    spec=_object(
        group=_TEXT,
        scope=_TEXT,
        names=_object(
            plural=_TEXT, singular=_TEXT, kind=_TEXT, listKind=_TEXT, shortNames=_list(_TEXT), categories=_list(_TEXT)
        ),
        conversion=_object(strategy=_TEXT),
        versions=_list(
            _object(
                name=_TEXT,
                served=_FLAG,
                storage=_FLAG,
                schema=_object(openAPIV3Schema=_object()),
                subresources=_object(
                    status=_object(),
                    scale=_object(specReplicasPath=_TEXT, statusReplicasPath=_TEXT, labelSelectorPath=_TEXT),
                ),
                additionalPrinterColumns=_list(
                    _object(name=_TEXT, type=_TEXT, format=_TEXT, description=_TEXT, jsonPath=_TEXT, priority=_WHOLE)
                ),
                selectableFields=_list(_object(jsonPath=_TEXT)),
            )
        ),
    ),
    status=_object(conditions=_list(_CONDITION), storedVersions=_list(_TEXT), acceptedNames=_object()),
)

SHAPES: dict[str, Schema] = {
    kind: Schema(openapi)
    for kind, openapi in {
        "Pod": _POD,
        "Node": _NODE,
        "ConfigMap": _CONFIG_MAP,
        "Secret": _SECRET,
        "Namespace": _NAMESPACE,
        "ServiceAccount": _SERVICE_ACCOUNT,
        "Lease": _LEASE,
        "Event": _EVENT,
        "CustomResourceDefinition": _DEFINITION,
        "Deployment": _DEPLOYMENT,
        "ReplicaSet": _REPLICA_SET,
        "DaemonSet": _DAEMON_SET,
    }.items()
}
"""Kind -> the shape its stored version must have."""
