"""An application on the gateway: when one property of a device is too high, it has another one set, with a cloud or without.

It is an ordinary client of Kubernetes. In a pod with the annotation `hedgerow.dev/local-api: operator` the in-cluster
configuration is that of the gateway's own API (docs/local-api.md).
"""

import logging
import os
import time

import urllib3
from kubernetes import client, config, watch

MEASURED, LIMIT = os.environ.get("MEASURED", "temperature"), float(os.environ.get("LIMIT", "30"))
FAN, HIGH, LOW = os.environ.get("FAN", "speed"), os.environ.get("HIGH", "100"), os.environ.get("LOW", "0")


def reported(device: dict, name: str) -> str | None:
    """What a device last said of a property."""
    twins = device.get("status", {}).get("twins", [])
    return next((t["reported"]["value"] for t in twins if t["propertyName"] == name and "reported" in t), None)


def desired(device: dict, name: str) -> str | None:
    """What it shall be."""
    found = (p.get("desired", {}).get("value") for p in device["spec"].get("properties", []) if p["name"] == name)
    return next(found, None)


def follow(device: str) -> None:
    """Watch one device, and set what shall be whenever that is otherwise."""
    api = client.CustomObjectsApi()
    namespace = os.environ["NAMESPACE"]
    about = ("devices.kubeedge.io", "v1beta1", namespace, "devices")
    for event in watch.Watch().stream(
        api.list_namespaced_custom_object, *about, field_selector=f"metadata.name={device}"
    ):
        value = reported(event["object"], MEASURED)
        if value is None:
            continue
        wanted = HIGH if float(value) > LIMIT else LOW
        if desired(event["object"], FAN) != wanted:
            patch = {"spec": {"properties": [{"name": FAN, "desired": {"value": wanted}}]}}
            api.patch_namespaced_custom_object(*about, device, patch)
            logging.info("%s is %s: %s shall be %s", MEASURED, value, FAN, wanted)


def main() -> None:
    """Follow a device for ever; edgecore may go and come back meanwhile."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if os.environ.get("KUBECONFIG"):  # where nothing can be mounted: a gateway of plain processes, without root
        config.load_kube_config()
    else:
        config.load_incluster_config()
    while True:
        try:
            follow(os.environ["DEVICE"])
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            logging.warning("the gateway does not answer: %r", error)
        time.sleep(1)


if __name__ == "__main__":
    main()
