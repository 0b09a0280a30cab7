"""The built-in MQTT broker: MQTT 3.1.1, QoS 0 and 1, with what must be kept in the gateway's store.

    packets, bodies, decoder   the codec
    filters, users             topics, who may use which
    connection                 one client's connection, and the order of its acknowledgements
    outbox, retained, journal  what waits for a client, the last message of a topic, what the store keeps of both
    router, clients, sessions  the core: who gets a message, who is remembered, what every packet does
    server                     the shell: sockets, and the broker as a service

Of all these only `server` does I/O; nothing is imported here, so that the others load without an event loop.
A message's way: server -> decoder -> sessions -> router -> outbox -> connection -> server.
"""
