"""The last known objects of the node."""

import logging

import msgspec
import pytest

from edge_gateway.meta_manager import MetaError, MetaManager
from edge_gateway.sealing import KEY_BYTES, Seal
from edge_gateway.tests.site import a_device, a_model
from edgewire import resource
from edgewire.device import ModelProperty
from edgewire.resource import Resource

DEVICE = Resource("default", resource.DEVICE, "s1")
MODEL = Resource("default", resource.DEVICE_MODEL, "meter")
CONFIG = Resource("default", resource.CONFIGMAP, "cm1")
CONFIG_JSON = b'{"metadata":{"name":"cm1","resourceVersion":"8071"},"data":{"k":"v"}}'


def json_of(thing: object) -> bytes:
    return msgspec.json.encode(thing)


def test_an_object_is_written_as_it_came() -> None:
    metas = MetaManager()
    assert metas.put(CONFIG, CONFIG_JSON) == ("object", "default/configmap/cm1", CONFIG_JSON)
    assert metas.remove(CONFIG) == ("object", "default/configmap/cm1", None)
    assert metas.remove(CONFIG) == ("object", "default/configmap/cm1", None)  # the row may be there all the same


def test_the_inventory_names_the_version_of_each_object() -> None:
    metas = MetaManager()
    metas.put(CONFIG, CONFIG_JSON)
    metas.put(DEVICE, json_of(a_device(generation=1)))
    metas.put(DEVICE, json_of(a_device(generation=2)))
    metas.put(MODEL, json_of(a_model()))
    assert metas.inventory() == {
        "default/configmap/cm1": "8071",
        "default/device/s1": "u1.2",
        "default/devicemodel/meter": "",
    }
    metas.remove(CONFIG)
    assert "default/configmap/cm1" not in metas.inventory()


def test_devices_know_their_model_and_models_their_devices() -> None:
    metas = MetaManager()
    metas.put(DEVICE, json_of(a_device()))
    metas.put(Resource("default", resource.DEVICE, "s2"), json_of(a_device(name="s2", model="other")))
    device = metas.device("default/s1")
    assert device == a_device()
    assert metas.model_of(device) is None
    metas.put(MODEL, json_of(a_model()))
    assert metas.model_of(device) == a_model()
    assert metas.devices_of("default/meter") == [device]
    metas.remove(MODEL)
    assert metas.model_of(device) is None
    metas.remove(DEVICE)
    assert metas.device("default/s1") is None
    assert [d.id for d in metas.devices()] == ["default/s2"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (CONFIG, b"not json", "default/configmap/cm1: JSON is malformed"),
        (CONFIG, b"{}", "default/configmap/cm1: Object missing required field `metadata`"),
        (CONFIG, b'{"metadata":{},"x":' + b"[" * 100_000, "maximum recursion depth"),
        (CONFIG, b'{"metadata":{"uid":"\xff"}}', "'utf-8' codec can't decode"),
        (DEVICE, b'{"metadata":{"name":"s1"},"spec":7}', "default/device/s1: Device: Expected `object`, got `int`"),
        (DEVICE, json_of(a_device(name="s2")), "default/device/s1: its metadata says default/s2"),
        (DEVICE, json_of(a_device(protocol="mod/bus")), "spec.protocol.protocolName 'mod/bus' contains"),
        (DEVICE, json_of(a_device(protocol="#")), "spec.protocol.protocolName '#' contains"),
        (MODEL, b'{"metadata":{}}', "default/devicemodel/meter: DeviceModel: Object missing required field `name`"),
        (MODEL, json_of(a_model(name="motor")), "default/devicemodel/meter: its metadata says default/motor"),
        (
            MODEL,
            json_of(a_model(ModelProperty("ok"), ModelProperty("not ok"))),
            "default/devicemodel/meter: spec.properties[1]: property name 'not ok' is not",
        ),
    ],
)
def test_an_object_that_cannot_be_used_is_refused_and_its_predecessor_kept(
    name: Resource, content: bytes, reason: str
) -> None:
    metas = MetaManager()
    metas.put(DEVICE, json_of(a_device()))
    metas.put(MODEL, json_of(a_model()))
    metas.put(CONFIG, CONFIG_JSON)
    before = metas.inventory()
    with pytest.raises(MetaError) as caught:
        metas.put(name, content)
    assert reason in str(caught.value)
    device = metas.device("default/s1")
    assert device == a_device()
    assert metas.model_of(device) == a_model()
    assert metas.inventory() == before


def test_what_the_store_kept_is_back_after_a_restart() -> None:
    metas = MetaManager()
    rows = [
        metas.put(DEVICE, json_of(a_device())),
        metas.put(MODEL, json_of(a_model())),
        metas.put(CONFIG, CONFIG_JSON),
    ]
    again = MetaManager()
    assert list(again.restore([(key, content) for _, key, content in rows if content is not None])) == []
    assert again.inventory() == metas.inventory()
    assert again.devices_of("default/meter") == [a_device()]
    assert again.model_of(a_device()) == a_model()


def test_a_row_that_cannot_be_used_is_dropped_so_that_the_cloud_sends_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metas = MetaManager()
    with caplog.at_level(logging.ERROR):
        rows = list(
            metas.restore([("default/device/s1", b"torn"), ("what is this", b"{}"), (str(CONFIG), CONFIG_JSON)])
        )
    assert rows == [("object", "default/device/s1", None), ("object", "what is this", None)]
    assert metas.inventory() == {"default/configmap/cm1": "8071"}
    assert len(caplog.records) == 2


SECRET = Resource("default", resource.SECRET, "password")
SECRET_JSON = b'{"metadata":{"name":"password","resourceVersion":"9"},"data":{"k":"aHVudGVyMg=="}}'
SEAL = Seal(bytes(KEY_BYTES))


def test_a_secret_is_on_disk_sealed_and_comes_back_as_it_was() -> None:
    metas = MetaManager(SEAL)
    table, key, stored = metas.put(SECRET, SECRET_JSON)
    assert (table, key) == ("object", "default/secret/password")
    assert stored is not None
    assert b"aHVudGVy" not in stored
    again = MetaManager(SEAL)
    assert list(again.restore([(key, stored)])) == []
    assert again.content(SECRET) == SECRET_JSON
    assert again.inventory() == {"default/secret/password": "9"}


def test_a_secret_sealed_with_another_key_is_dropped_so_that_the_cloud_sends_it_again() -> None:
    _, key, stored = MetaManager(SEAL).put(SECRET, SECRET_JSON)
    assert stored is not None
    other = MetaManager(Seal(bytes(range(KEY_BYTES))))
    assert list(other.restore([(key, stored)])) == [("object", key, None)]
    assert other.inventory() == {}
    assert other.content(SECRET) is None


def test_without_a_key_no_secret_touches_the_disk() -> None:
    metas = MetaManager()
    assert metas.put(SECRET, SECRET_JSON) == ("object", "default/secret/password", None)
    assert metas.content(SECRET) == SECRET_JSON


def test_a_pod_is_known_by_its_resource_version_because_labels_have_no_generation() -> None:
    metas = MetaManager()
    pod = Resource("default", resource.POD, "web")
    metas.put(pod, b'{"metadata":{"name":"web","uid":"u","generation":1,"resourceVersion":"7"}}')
    assert metas.inventory() == {"default/pod/web": "7"}
    assert metas.names(resource.POD) == [pod]
    metas.remove(pod)
    assert metas.content(pod) is None
