"""Answers each connection with values of every generator that CPython and its library have."""

import random
import socket
import ssl
import tempfile
import uuid

own = random.Random()
wished = random.Random(42)
timed = random.Random()
import time

timed.seed(time.time_ns())


def values():
    yield "random", random.random()
    yield "own", own.random()
    yield "gauss", own.gauss(0, 1)
    yield "timed", timed.random()
    yield "ssl", ssl.RAND_bytes(16).hex()
    yield "tempfile", next(tempfile._get_candidate_names())
    yield "uuid4", uuid.uuid4()
    yield "wished", wished.random()


server = socket.create_server(("127.0.0.1", 8080))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall("\n".join(f"{name} {value}" for name, value in values()).encode())
    connection.close()
