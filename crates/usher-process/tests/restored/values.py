"""Answers each connection with values of every generator that CPython and its library have."""

import os
import random
import socket
import ssl
import tempfile
import time
import uuid

# Seeded by the system, or with what is as good as random.
stale = {
    "own": random.Random(),
    "time": random.Random(time.time()),
    "second": random.Random(int(time.time())),
    "nanosecond": random.Random(time.time_ns()),
    "bytes": random.Random(os.urandom(8)),
    "process": random.Random(os.getpid()),
}
# Seeded with what the program wants to have again.
wished = {
    "number": random.Random(42),
    "text": random.Random("a text"),
    "state": random.Random(),
}
wished["state"].setstate(random.Random(7).getstate())


def values():
    yield "random", random.random()
    yield "gauss", random.gauss(0, 1)
    yield "ssl", ssl.RAND_bytes(16).hex()
    yield "tempfile", next(tempfile._get_candidate_names())
    yield "uuid4", uuid.uuid4()
    for name, generator in (stale | wished).items():
        yield name, generator.random()


server = socket.create_server(("127.0.0.1", 8080))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall("\n".join(f"{name} {value}" for name, value in values()).encode())
    connection.close()
