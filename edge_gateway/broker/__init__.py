"""The built-in MQTT broker: MQTT 3.1.1, with what must be kept in the gateway's store.

    packets, bodies, decoder   the codec
    filters                    topic names, filters, and the tree of subscriptions
    users, acl, passwords      who may use which topic: our users' file, mosquitto's files, hashes
    connection                 one client's connection, and the order of its acknowledgements
    inbox, outbox, retained    what comes from a client, what waits for it, the last message of a topic
    journal                    what the store keeps of all that
    router, lookups            who gets a message, and which retained ones
    clients, admission         who is remembered, who is let in
    sessions                   the core: what every packet does
    wire, tls, watch           the shell: one connection, its TLS, files that change
    server                     the broker as a service

Of all these only the last four do I/O; nothing is imported here, so that the others load without an event loop.
A message's way: server -> decoder -> sessions -> inbox, router -> outbox -> connection -> server.
"""
