"""Values of generators of CPython and its library, over HTTP or as a Lambda function."""

import json
import os
import random
import secrets
import ssl
import tempfile
import uuid

SOURCES = {
    "random": lambda: random.random(),
    "ssl": lambda: ssl.RAND_bytes(16).hex(),
    "tempfile": lambda: next(tempfile._get_candidate_names()) + "-1",
    "uuid4": lambda: str(uuid.uuid4()),
    "secrets": lambda: secrets.token_hex(16),
}
# Once before any request, so that each of them has its seed.
for source in SOURCES.values():
    source()
calls = 0


def values(only=None):
    global calls
    calls += 1
    drawn = {name: source() for name, source in SOURCES.items() if only in (None, name)}
    return {"calls": calls, "build": "b7f3c9d2e1a04586", **drawn}


def handler(event, context):
    if event.get("fail"):
        raise ValueError("as the event says")
    return values()


if __name__ == "__main__":
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/") or None
            known = name is None or name in SOURCES
            self.send_response(200 if known else 404)
            self.send_header("etag", '"5d41402abc4b2a76b9719d911017c592"')
            self.end_headers()
            self.wfile.write(json.dumps(values(name) if known else {}).encode())

    HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Server).serve_forever()
