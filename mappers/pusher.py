"""Takes samples to where they are pushed: one task and one bounded queue a target. Nothing here holds up a poll.

HTTP is spoken by the standard library in a thread of the loop's own pool, one request at a time a target; its module is
imported with the first sample that needs it. What cannot be delivered waits, up to `QUEUE` samples a target of which the oldest
give way, and is tried again with back-off. What a server will never take (a status of 4xx) is dropped; the log has its answer.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from edgewire import backoff

from .driver import MapperError
from .mqtt import BrokerConfig, MqttConnection
from .push import HttpTarget, InfluxTarget, MqttPoint, MqttTarget, Placed, Pushes, Sample, Target, payload_of

log = logging.getLogger(__name__)

QUEUE = 5_000
BATCH = 500
MOST_TARGETS = 64
IDLE_S = 600.0
"""A target that got nothing for so long is given up; its connection too."""
RETRY_LIMIT_S = 60.0
COALESCE_S = 0.2
"""Samples of so long go in one request."""
MOST_ON_THEIR_WAY = 100
"""MQTT messages handed to the socket and not yet acknowledged, or sent at QoS 0."""
_LATER = (408, 425, 429)


class PushError(MapperError):
    """A target did not take samples; they are tried again."""


class PushRefused(PushError):
    """A target will never take them."""


class PushConfig(Struct, frozen=True):
    """What pushing needs to know and no Device should."""

    authorization: dict[str, str] = field(default_factory=dict)
    """`http://host:port` -> the Authorization header, such as `Token abc`; `mqtt://host:port` -> `user:password`."""


class Pusher:
    """Everything that is pushed by this process; a service."""

    name = "pusher"

    def __init__(self, config: PushConfig, broker: BrokerConfig) -> None:
        """`broker` is the gateway's own."""
        self._authorization = {origin.rstrip("/").lower(): value for origin, value in config.authorization.items()}
        self._broker = broker
        self._queues: dict[Target, _Queue] = {}
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._running = False

    async def run(self, ready: asyncio.Event) -> None:
        """Push until cancelled."""
        self._running = True
        ready.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def put(self, pushes: Pushes, sample: Sample) -> None:
        """Let a sample go everywhere it should; never waits."""
        for target, how in pushes.targets:
            queue = self._queues.get(target)
            if queue is None:
                if len(self._queues) >= MOST_TARGETS or not self._running:
                    log.warning("> push dropped, too many targets target=%s", _name(target))
                    continue
                queue = self._queues[target] = _Queue(_name(target))
                self._tasks[target] = asyncio.create_task(self._supervise(target, queue), name=f"push {_name(target)}")
            queue.put(Placed(sample, how))

    async def _supervise(self, target: Target, queue: "_Queue") -> None:
        try:
            if isinstance(target, MqttTarget):
                await self._publish(target, queue)
            else:
                await self._post(target, queue)
        except Exception:
            log.exception("= push failed target=%s dropped=%d", queue.name, len(queue))
        finally:
            del self._queues[target], self._tasks[target]

    async def _post(self, target: HttpTarget | InfluxTarget, queue: "_Queue") -> None:
        authorization = self._authorization.get(_origin(target.url), "")
        delays = backoff.delays(limit_s=RETRY_LIMIT_S)
        while await queue.filled():
            await asyncio.sleep(COALESCE_S)
            batch = queue.take(BATCH)
            try:
                body = target.body(batch)
                if body:
                    await asyncio.to_thread(_send, target, body, authorization)
            except PushRefused as error:
                log.warning("> push refused target=%s samples=%d reason=%s", queue.name, len(batch), error)
            except PushError as error:
                queue.put_back(batch)
                delay = next(delays)
                queue.complain(f"retry_s={delay:.1f} error={error}")
                await asyncio.sleep(delay)
                continue
            delays = backoff.delays(limit_s=RETRY_LIMIT_S)
            queue.well()

    async def _publish(self, target: MqttTarget, queue: "_Queue") -> None:
        broker = self._broker
        if target.host:
            user, _, password = self._authorization.get(f"mqtt://{target.host}:{target.port}", "").partition(":")
            broker = BrokerConfig(host=target.host, port=target.port, user=user, password=password)
        publisher = _Publisher(queue)
        client_id = f"{self._broker.client_id or 'mapper'}-push-{id(self):x}"
        publisher.connection = connection = MqttConnection(
            BrokerConfig(broker.host, broker.port, broker.user, broker.password, client_id), client_id, publisher
        )
        connecting = asyncio.create_task(connection.run(asyncio.Event()), name=f"push {queue.name}")
        try:
            while await queue.filled():
                await publisher.pump()
        finally:
            connecting.cancel()


class _Queue:
    """What waits for one target."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._waiting: deque[Placed] = deque(maxlen=QUEUE)
        self._filled = asyncio.Event()
        self._dropped = 0
        self._unwell = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, placed: Placed) -> None:
        """Let a sample wait; the oldest gives way when there are too many."""
        if len(self._waiting) == QUEUE:
            self._dropped += 1
        self._waiting.append(placed)
        self._filled.set()

    async def filled(self) -> bool:
        """Wait for samples; False when there were none for a long time."""
        if self._waiting:
            return True
        self._filled.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S):
                await self._filled.wait()
        return bool(self._waiting)

    def take(self, count: int) -> list[Placed]:
        """The oldest samples, which wait no more."""
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def put_back(self, batch: Sequence[Placed]) -> None:
        """These come first again, as far as there is room."""
        room = QUEUE - len(self._waiting)
        self._dropped += max(0, len(batch) - room)
        self._waiting.extendleft(reversed(batch[len(batch) - min(room, len(batch)) :]))

    def complain(self, why: str) -> None:
        """The target does not take samples; said once until it does."""
        if not self._unwell:
            log.warning("> push fails target=%s waiting=%d %s", self.name, len(self._waiting), why)
        self._unwell = True

    def well(self) -> None:
        """The target took samples."""
        if self._unwell or self._dropped:
            log.info("> push works again target=%s dropped=%d", self.name, self._dropped)
        self._unwell, self._dropped = False, 0


class _Publisher:
    """The `Handler` of a connection that only publishes."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue
        self._changed = asyncio.Event()
        self._up = False
        self._sent: deque[Placed] = deque()
        self.connection: MqttConnection | None = None

    async def pump(self) -> None:
        """Publish what waits, as far as the broker keeps up; wait otherwise."""
        while not self._up or len(self._sent) >= MOST_ON_THEIR_WAY:
            self._changed.clear()
            await self._changed.wait()
        for placed in self._queue.take(MOST_ON_THEIR_WAY - len(self._sent)):
            how = placed.how
            if self.connection is not None and isinstance(how, MqttPoint):
                self._sent.append(placed)
                payload = payload_of(placed.sample, how)
                self.connection.publish("", how.topic, payload, qos=how.qos, retain=how.retained)

    def filters(self) -> list[str]:
        """Nothing is subscribed to."""
        return []

    def connected(self) -> None:
        self._up = True
        self._queue.well()
        self._changed.set()

    def received(self, topic: str, payload: bytes) -> None:
        """Nothing comes."""

    def acknowledged(self, device: str) -> None:
        if self._sent:
            self._sent.popleft()
        self._changed.set()

    def disconnected(self) -> None:
        self._up = False
        self._queue.put_back(list(self._sent))
        self._sent.clear()


def _send(target: HttpTarget | InfluxTarget, body: bytes, authorization: str) -> None:
    """One POST; blocks. Raises PushError."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(target.url)
    headers = {"Content-Type": "application/json" if isinstance(target, HttpTarget) else "text/plain; charset=utf-8"}
    if authorization:
        headers["Authorization"] = authorization
    kind: Any = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = kind(parts.hostname, parts.port, timeout=target.timeout_s)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            said = answer.read(300).decode("utf-8", "replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PushError(str(error) or repr(error)) from error
    if 200 <= answer.status < 300:
        return
    why = f"{answer.status} {' '.join(said.split())[:200]}"
    raise PushRefused(why) if 300 <= answer.status < 500 and answer.status not in _LATER else PushError(why)


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0].split('?', 1)[0]}".lower()


def _name(target: Target) -> str:
    """For logs."""
    if isinstance(target, MqttTarget):
        return f"mqtt://{target.host}:{target.port}" if target.host else "the gateway's broker"
    return target.url.partition("?")[0]
