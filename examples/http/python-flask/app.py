"""A Flask application on $PORT, by the server that comes with Flask."""

import os
import signal
import sys
import time

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler

PIECES = 5
PAUSE_S = 0.02
SLOW_S = 120
PIECE_BYTES = 16 * 1024

app = Flask(__name__)
count = 0


@app.get("/")
def hello():
    return "hello from Flask\n"


@app.get("/counter")
def counter():
    global count
    count += 1
    return str(count)


@app.route("/echo", methods=["GET", "POST", "PUT"])
def echo():
    # Each piece is waited for until it is full: this streams, but not byte by byte.
    def pieces(stream):
        while piece := stream.read(PIECE_BYTES):
            yield piece

    return Response(pieces(request.stream), mimetype="application/octet-stream")


@app.get("/stream")
def stream():
    def pieces():
        for number in range(PIECES):
            yield f"piece {number}\n"
            time.sleep(PAUSE_S)

    return Response(pieces(), mimetype="text/plain")


@app.get("/headers")
def headers():
    return jsonify({name.lower(): value for name, value in request.headers.items()})


@app.get("/slow")
def slow():
    print("begun", flush=True)
    time.sleep(SLOW_S)
    return "at last\n"


@app.get("/crash")
def crash():
    os.abort()


@app.get("/hog")
def hog():
    held = []
    while True:
        held.append(b"\x55" * (1 << 20))


if __name__ == "__main__":
    # The first process of a sandbox has no default for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "8080")), threaded=True)
