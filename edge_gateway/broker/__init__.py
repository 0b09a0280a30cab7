"""The built-in MQTT broker: MQTT 3.1.1, QoS 0 and 1, with what must be kept in the gateway's store.

    packets, bodies, decoder   the codec
    filters, users             topics, who may use which
    connection                 one client's connection, and the order of its acknowledgements
    outbox, retained, journal  what waits for a client, the last message of a topic, what the store keeps of both
    router, clients, sessions  the core: who gets a message, who is remembered, what every packet does
    server                     the shell: sockets, and the broker as a service

Of all these only `server` does I/O. A message's way: server -> decoder -> sessions -> router -> outbox -> connection -> server.
"""

from edge_gateway.broker.connection import Inbound
from edge_gateway.broker.errors import BrokerError
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.server import Broker
from edge_gateway.broker.users import User, Users, load_users

__all__ = ["Broker", "BrokerError", "Inbound", "Limits", "User", "Users", "load_users"]
