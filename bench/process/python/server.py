"""The Python program: HTTP/1.1 on $PORT, by the standard library alone."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from handler import handle


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        body = handle(self.path.partition("?")[2])
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
