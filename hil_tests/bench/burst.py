"""Many reports at QoS 1 over one connection, as fast as the broker acknowledges them.

`paho` spends more on a message than the gateway does; here a whole window of PUBLISHes is one write, and its PUBACKs one read.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice

from edge_gateway.broker.packets import Connect, encode_connect, encode_publish

DEADLINE_S = 30.0
WINDOW = 100
_ANSWER_SIZE = 4  # CONNACK and PUBACK alike (MQTT 3.1.1, sections 3.2 and 3.4)

Report = tuple[str, str]
"""Topic and payload."""


async def publish(port: int, reports: Iterable[Report], *, window: int = WINDOW, again: bool = False) -> list[Report]:
    """Publish in this order, at most `window` unacknowledged; `again` marks all as duplicates.

    What has no PUBACK when the connection ends is returned, so nothing when all went well. Raises OSError when nobody
    listens, TimeoutError when the broker takes longer than `DEADLINE_S`.
    """
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        left = iter(reports)
        sent: Sequence[Report] = []
        acknowledged = 0
        try:
            writer.write(encode_connect(Connect("", keepalive=60)))
            await reader.readexactly(_ANSWER_SIZE)
            while sent := list(islice(left, window)):
                acknowledged = 0
                writer.write(b"".join(_packet(number, report, again) for number, report in enumerate(sent, 1)))
                await reader.readexactly(_ANSWER_SIZE * len(sent))
        except asyncio.IncompleteReadError as error:
            acknowledged = len(error.partial) // _ANSWER_SIZE
        except ConnectionError:
            pass
        finally:
            writer.close()
        return [*sent[acknowledged:], *left]


def _packet(number: int, report: Report, again: bool) -> bytes:
    topic, payload = report
    return encode_publish(topic, payload.encode(), qos=1, dup=again, packet_id=number)
