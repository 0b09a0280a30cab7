"""The messages of `edgewire/samples`: read there, and built here the way each side builds them.

`BUILT` holds what the gateway and the cloud encode, byte for byte; `BOARD` what a board sends, of which only the JSON counts,
for a board's `json` puts blanks where it likes.
"""

import hashlib
from pathlib import Path

import msgspec

from edgewire import board, device, message, methods, ota, resource, twin
from edgewire.device import Device, DeviceModel, DeviceSpec, MapperDevice, Metadata, ModelProperty, ModelSpec
from edgewire.message import Message
from edgewire.twin import Change, DeviceState, Member, Membership, Stamp, Twin, TwinError, TypeOf, Value, Version

SAMPLES = Path(__file__).parents[1] / "samples"

AT = 1_795_411_715_588
ID = "337479b0-1c2a-46f9-ac50-3c4487fe9c9d"
EVENT = "d37ce740-8864-4147-8f65-9006692243c8"


def sample(name: str) -> bytes:
    """One golden message, as `<name>.json` holds it."""
    return (SAMPLES / f"{name}.json").read_bytes().removesuffix(b"\n")


def _twin(desired: str | None, reported: str | None, type: str) -> Twin:
    return Twin(
        desired=None if desired is None else Value(desired, Stamp(AT - 1000)),
        reported=None if reported is None else Value(reported, Stamp(AT - 500)),
        optional=True,
        metadata=TypeOf(type),
    )


POWER, TEMPERATURE = _twin("ON", "OFF", "string"), _twin(None, "21.5 °C", "string")


def frame(built: Message) -> bytes:
    """The frame of a link message, with an id and a time that do not change, without its line feed."""
    return message.encode(msgspec.structs.replace(built, id=ID, timestamp=AT)).removesuffix(b"\n")


def _updated() -> Message:
    twins = {
        "power": msgspec.structs.replace(POWER, reported_version=Version(0, 7)),
        "speed": Twin(
            desired=Value(metadata=Stamp(AT - 1000)),
            reported=Value("3", Stamp(AT)),
            optional=True,
            metadata=TypeOf("int"),
            reported_version=Version(0, 8),
        ),
        "temperature": None,
    }
    key = resource.device_report("default/s1", resource.TWIN_UPDATED)
    return message.build(message.UPDATE, key, twin.updated_content(EVENT, AT, twins), source="twin")


UNWELL = DeviceState(
    "s1",
    "offline",
    "2026-11-23T05:28:35Z",
    "NoAnswer",
    "192.168.1.40:502 unit 1 did not answer within 1000 ms",
    {"speed": "'99': above the maximum 90"},
)


def _unwell() -> Message:
    key = resource.device_report("default/s1", resource.STATE_UPDATED)
    return message.build(message.UPDATE, key, twin.state_content(EVENT, AT, UNWELL), source="twin")


def _state() -> Message:
    key = resource.device_report("default/s1", resource.STATE_UPDATED)
    content = twin.state_content(EVENT, AT, DeviceState("s1", "online", "2026-11-23T05:28:35Z"))
    return message.build(message.UPDATE, key, content, source="twin")


def _inventory() -> Message:
    versions = {
        "default/devicemodel/meter": "0f6e4b2c-43a5-4bb1-8c0a-7b1c52a4f001.1",
        "default/device/s1": "766a7ce5-02c1-4481-a51f-1eb1ebf0a8a5.3",
        "default/configmap/cm1": "8071",
    }
    return message.build(message.GET, resource.INVENTORY, {"objects": versions}, source="edgehub")


def _node_status() -> Message:
    machine = {
        "hostname": "edge1",
        "arch": "arm64",
        "os": "linux",
        "kernel": "6.12.47+rpt-rpi-v8",
        "os_image": "Debian GNU/Linux 13 (trixie)",
        "edgecore_version": "0.1.0",
        "cpus": 4,
        "memory_bytes": 949_104_640,
        "addresses": ["192.168.1.17"],
    }
    name = resource.Resource(resource.NO_NAMESPACE, resource.NODE_STATUS, "edge1")
    return message.build(message.UPDATE, str(name), machine, source="edged")


def _membership() -> Membership:
    return Membership(EVENT, AT, [Member("default/s1", "s1")], None)


DEFINITION = MapperDevice(
    Device(
        Metadata("s1", "default", "766a7ce5-02c1-4481-a51f-1eb1ebf0a8a5", "8079", 3),
        DeviceSpec(
            device.Reference("meter"),
            "edge1",
            device.Protocol("modbus", {"ip": "127.0.0.1", "port": 1502, "slaveID": 1}),
            [
                device.Property(
                    "power",
                    desired=device.Desired("ON"),
                    visitors=device.Visitor("modbus", {"register": "CoilRegister", "offset": 2, "limit": 1}),
                    collect_cycle=500,
                    report_cycle=60_000,
                ),
                device.Property("serial", report_to_cloud=False),
            ],
        ),
    ),
    DeviceModel(
        Metadata("meter", "default", "0f6e4b2c-43a5-4bb1-8c0a-7b1c52a4f001", "8001", 1),
        ModelSpec(
            "modbus",
            [
                ModelProperty("power", "Output relay", "BOOLEAN"),
                ModelProperty("serial", type="STRING", access_mode="ReadOnly"),
                ModelProperty("temperature", "Of the case", "FLOAT", "ReadOnly", "-40", "125", "°C"),
            ],
        ),
    ),
)

CALL = methods.Call("c1", "open", {"position": "50"}, 5000)

IMAGE = ota.Manifest(
    "unix",
    7,
    [
        ("main.mpy", 412, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
        ("edgewire/topics.mpy", 1806, "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"),
    ],
    "6.3",
    "x64",
    "1.24.0",
    "1.4.0",
)
IMAGE_ID = hashlib.sha256(ota.encode_manifest(IMAGE)).hexdigest()
OFFER = ota.Offer(IMAGE_ID, len(ota.encode_manifest(IMAGE)), bytes(range(64)), IMAGE.version, IMAGE.counter, 1)
CHUNK = ota.chunk(IMAGE_ID, 4096, b"print()\n")
"""In `ota-chunk.txt`, in hex."""

BUILT = {
    "ota-manifest": ota.encode_manifest(IMAGE),
    "result": twin.result("e1", AT, {"temperature": TEMPERATURE, "power": None}),
    "refusal": twin.result("e4", AT, {}, TwinError(400, "property 'temperature': 'hot' is not a number", "e4")),
    "partly-refused": twin.result("e4", AT, {"power": POWER}, TwinError(404, "property 'pwr' is not declared", "e4")),
    "delta": twin.delta(EVENT, AT, {"power": POWER}, {"power": "ON"}),
    "document": twin.document("e2", AT, {"power": Change(None, POWER), "temperature": Change(TEMPERATURE, None)}),
    "get-result": twin.result("e3", AT, {"power": POWER, "temperature": TEMPERATURE}),
    "state-result": twin.state_result("s1", AT, DeviceState("s1", "online", "2026-11-23T05:28:35Z")),
    "members": twin.members(
        "m1", AT, [Member("default/s1", "s1", "online", "2026-11-23T05:28:35Z"), Member("default/s2", "s2")]
    ),
    "membership": twin.encode_membership(_membership()),
    "mapper-device": device.encode_mapper_device(DEFINITION),
    "edge_updated": frame(_updated()),
    "state_update": frame(_state()),
    "state_update-unwell": frame(_unwell()),
    "method-result": methods.result(CALL, AT, {"position": "50"}),
    "method-refusal": methods.refusal("c1", "open", AT, methods.OFFLINE, "the device is offline"),
    "inventory": frame(_inventory()),
    "nodestatus": frame(_node_status()),
}

BOARD = {
    "report": board.report({"temperature": ("21.5 °C", AT - 500), "power": ("OFF", 0)}, "e1", AT),
    "state": board.state("online", "s1", AT),
    "state-unwell": board.state("offline", "s1", AT, UNWELL.reason, UNWELL.message, UNWELL.refused),
    "get": board.get("e3"),
    "ota-offer": ota.offer(OFFER),
    "ota-offer-none": ota.no_offer(),
    "ota-get": ota.get(IMAGE_ID, 4096, 1024),
}

WRITTEN_BY_CLIENTS = ("report-with-desired", "delete", "method-call")
"""Messages that applications send and nothing here builds."""
