"""A function: a server on $PORT. Every request meets it as it was before its first one."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

PAGE = """<!doctype html>
<title>my-function</title>
<h1>Hello from Python</h1>
<p>You asked for {path}
"""


class Function(BaseHTTPRequestHandler):
    def do_GET(self):
        body = PAGE.format(path=self.path.replace("<", "&lt;")).encode()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Function).serve_forever()
