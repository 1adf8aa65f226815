"""Answers with a value of a generator: of the runtime's, or of one that nobody begins anew."""

import hashlib
import http.server
import os
import random
import secrets
import ssl
import tempfile
import uuid

seed = os.urandom(16)
drawn = 0
calls = 0
# Drawn once, so that each generator has a state when the snapshot is taken.
random.random(), ssl.RAND_bytes(4), uuid.uuid4(), secrets.token_hex()


def seeded():
    global drawn
    drawn += 1
    return hashlib.sha256(seed + bytes([drawn])).hexdigest()


SOURCES = {
    "random": random.random,
    "uuid4": uuid.uuid4,
    "secrets": secrets.token_hex,
    "ssl": lambda: ssl.RAND_bytes(16).hex(),
    "tempfile": lambda: next(tempfile._get_candidate_names()),
    "seeded": seeded,
}


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global calls
        calls += 1
        source = self.path.rsplit("/", 1)[-1]
        told = f"{calls} {SOURCES[source]()}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass


http.server.HTTPServer(("", int(os.environ["PORT"])), Answers).serve_forever()
