"""What of the twins the cloud does not know yet: the newest of each object, until the cloud acknowledges it.

A core beside DeviceTwin, which changes the records that this reads; EdgeHub asks it through EdgeCore.
"""

from collections.abc import Mapping

from edge_gateway import twin_record
from edge_gateway.effects import Effects
from edge_gateway.twin_record import DeviceTwinRecord, rfc3339
from edgewire import message as wire
from edgewire import resource, twin
from edgewire.message import Message


class Unseen:
    """The objects of one node's devices, by key."""

    def __init__(self, devices: Mapping[str, DeviceTwinRecord]) -> None:
        self._devices = devices

    def dirty_keys(self) -> list[str]:
        """Everything the cloud has not acknowledged, as keys for `message_for`."""
        keys = []
        for id, kept in self._devices.items():
            if kept.dirty():
                keys.append(twin_key(id))
            if kept.state_is_dirty():
                keys.append(state_key(id))
        return keys

    def message_for(self, key: str, now_ms: int) -> Message | None:
        """The newest message about a key, or None when the cloud knows all. It is in flight until `delivered`."""
        found = self._find(key)
        if found is None:
            return None
        kept, is_state = found
        if is_state:
            if not kept.state_is_dirty():
                return None
            kept.state_offered = kept.record.state_sequence
            state = kept.state(rfc3339(kept.record.last_online_at))
            content = twin.state_content(wire.new_id(), now_ms, state)
        else:
            twins = {p.name: p.twin_for_cloud() for p in kept.offer()}
            if not twins:
                return None
            content = twin.updated_content(wire.new_id(), now_ms, twins)
        return wire.build(wire.UPDATE, key, content, source="twin")

    def delivered(self, key: str) -> Effects:
        """The cloud has what `message_for(key)` last said, or will never take it: it is not sent again.

        What changed since, or did not fit, is dirty still and named again.
        """
        effects = Effects()
        found = self._find(key)
        if found is None:
            return effects
        kept, is_state = found
        before = kept.record.seen, kept.record.state_seen
        if is_state:
            kept.record.state_seen = max(kept.record.state_seen, kept.state_offered)
        else:
            kept.record.seen = max(kept.record.seen, kept.offered)
        if (kept.record.seen, kept.record.state_seen) != before:
            effects.changes.append(("device", kept.device.id, twin_record.encode(kept.record)))
        if kept.state_is_dirty() if is_state else kept.dirty():
            effects.dirty.append(key)
        return effects

    def _find(self, key: str) -> tuple[DeviceTwinRecord, bool] | None:
        """The device of a dirty key, and whether the key is that of its state."""
        report = resource.parse_device_report(key)
        kept = self._devices.get(report[0]) if report else None
        return None if report is None or kept is None else (kept, report[1] == resource.STATE_UPDATED)


def twin_key(id: str) -> str:
    """The key of a device's values."""
    return resource.device_report(id, resource.TWIN_UPDATED)


def state_key(id: str) -> str:
    """The key of a device's state."""
    return resource.device_report(id, resource.STATE_UPDATED)
