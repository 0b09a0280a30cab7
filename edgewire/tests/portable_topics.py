"""What `edgewire.topics` promises, in plain asserts: runs on CPython and on MicroPython, frozen into firmware or not."""

from edgewire import topics


def test_a_device_topic_comes_apart_as_it_was_built() -> None:
    for kind in (
        topics.UPDATE,
        topics.RESULT,
        topics.DELTA,
        topics.DOCUMENT,
        topics.GET,
        topics.GET_RESULT,
        topics.STATE,
    ):
        assert topics.device_topic(topics.of_device("default/s1", kind)) == ("default/s1", kind)


def test_device_topics_are_those_of_kubeedge() -> None:
    assert topics.of_device("default/s1", topics.UPDATE) == "$hw/events/device/default/s1/twin/update"
    assert topics.of_device("default/s1", topics.DELTA) == "$hw/events/device/default/s1/twin/update/delta"
    assert topics.of_device("default/s1", topics.STATE) == "$hw/events/device/default/s1/state/update"
    assert topics.data_update("default/s1") == "$ke/events/device/default/s1/data/update"


def test_a_topic_without_namespace_name_or_kind_is_no_device_topic() -> None:
    begin = "$hw/events/device/"
    for topic in (
        "",
        "$hw/events/node/n1/membership/get",
        begin,
        begin + "s1",
        begin + "default/s1",
        begin + "/s1/twin/get",
    ):
        assert topics.device_topic(topic) is None, topic
    assert topics.device_topic(begin + "default//twin/get") is None
    assert topics.device_topic("x" + topics.of_device("default/s1", topics.GET)) is None


def test_an_unknown_kind_is_handed_on_for_the_caller_to_refuse() -> None:
    assert topics.device_topic("$hw/events/device/default/s1/twin/nonsense/x") == ("default/s1", "twin/nonsense/x")


def test_the_node_of_a_membership_request_is_found() -> None:
    assert topics.membership_get("n1") == "$hw/events/node/n1/membership/get"
    assert topics.node_of_membership_get(topics.membership_get("n1")) == "n1"
    assert topics.node_of_membership_get(topics.membership_result("n1")) is None
    assert topics.node_of_membership_get("$hw/events/node/membership/get") is None
    assert topics.membership_updated("n1") == "$hw/events/node/n1/membership/updated"


def test_mapper_topics_give_back_protocol_and_device() -> None:
    assert topics.device_of_mapper_topic(topics.mapper_index("modbus")) == ("modbus", None)
    assert topics.device_of_mapper_topic(topics.mapper_device("modbus", "default/plc")) == ("modbus", "default/plc")
    assert topics.device_of_mapper_topic("$hw/events/mapper/modbus/other") is None
    assert topics.device_of_mapper_topic(topics.of_device("default/plc", topics.GET)) is None


def test_a_mapper_subscribes_to_its_index_and_its_devices() -> None:
    index, devices = topics.mapper_filters("modbus")
    assert index == topics.mapper_index("modbus")
    assert devices == topics.mapper_index("modbus") + "/+/+"


def test_the_gateway_takes_in_what_devices_send_and_nothing_it_sends_itself() -> None:
    for kind in (topics.UPDATE, topics.GET, topics.STATE, topics.OTA_GET):
        assert any(_covers(f, topics.of_device("default/s1", kind)) for f in topics.GATEWAY_FILTERS), kind
    for kind in (
        topics.RESULT,
        topics.DELTA,
        topics.DOCUMENT,
        topics.GET_RESULT,
        topics.STATE_RESULT,
        topics.OTA_OFFER,
    ):
        assert not any(_covers(f, topics.of_device("default/s1", kind)) for f in topics.GATEWAY_FILTERS), kind


def _covers(topic_filter: str, topic: str) -> bool:
    wanted, levels = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(levels) and all(wanted[i] in ("+", levels[i]) for i in range(len(levels)))
