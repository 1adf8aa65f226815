"""Keeps all that it is told, in memory, in its environment and in a file, and says what it finds."""

import json
import os
import random
import signal
import sys
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

FILE = os.path.join(os.environ["TMPDIR"], "kept")
kept = []


class Counter(BaseHTTPRequestHandler):
    def do_GET(self):
        found = bool(kept) + ("KEPT" in os.environ) + os.path.exists(FILE)
        marker = self.path.partition("?")[2]
        kept.append(marker)
        os.environ["KEPT"] = marker
        with open(FILE, "w") as file:
            file.write(marker)
        drawn = [str(random.random()), str(uuid.uuid4())]
        told = json.dumps({"count": len(kept), "found": found, "random": drawn}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Counter).serve_forever()
