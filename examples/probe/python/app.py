"""Leaves a marker wherever Python can leave something (`?plant=HEX`, 32 digits), or tells where one was left
(`?seek=HEX`), as JSON.

What is planted is the marker with each byte XORed by 0xa5: that form stands in no request. It runs on any platform for
programs that listen on $PORT, and needs nothing but the standard library.
"""

import builtins
import functools
import http.server
import json
import os
import signal
import socketserver
import sys
import threading
import types
import urllib.parse

MASK = 0xA5
BYTES = 16
COPIES = 64
SCRATCH = "/tmp"
FILES = {"file": f"{SCRATCH}/left-behind", "shared": "/dev/shm/left-behind"}

calls = 0
variable = None
mapping = {}
reader, writer = os.pipe()
os.set_blocking(reader, False)
usual = {"folder": os.getcwd(), "threads": threading.active_count()}


def closure():
    inside = []
    return inside.append, lambda: inside[0] if inside else None


leave_closed, see_closed = closure()


@functools.lru_cache
def cached(_):
    return mapping.get("cached")


def leave_variable(marker):
    global variable
    variable = marker


def leave_cached(marker):
    mapping["cached"] = marker
    cached.cache_clear()
    cached(0)
    del mapping["cached"]


def see_cached():
    found = cached(0)
    if found is None:
        cached.cache_clear()
    return found


def leave_module(marker):
    sys.modules["left_behind"] = types.ModuleType("left_behind", marker.decode("latin-1"))


def leave_file(name):
    def leave(marker):
        with open(FILES[name], "wb") as file:
            file.write(marker)

    return leave


def see_file(name):
    def see():
        try:
            with open(FILES[name], "rb") as file:
                return file.read()
        except OSError:
            return None

    return see


def see_pipe():
    try:
        return os.read(reader, BYTES)
    except BlockingIOError:
        return None


def leave_thread(_):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


# Where something can be left: how to leave it, and how to see whether it is there.
PLACES = {
    "variable": (leave_variable, lambda: variable),
    "mapping": (lambda marker: mapping.update(kept=marker), lambda: mapping.get("kept")),
    "closure": (leave_closed, see_closed),
    "cache": (leave_cached, see_cached),
    "builtins": (
        lambda marker: setattr(builtins, "left_behind", marker),
        lambda: getattr(builtins, "left_behind", None),
    ),
    "class": (
        lambda marker: setattr(Handler, "left_behind", marker),
        lambda: getattr(Handler, "left_behind", None),
    ),
    "modules": (leave_module, lambda: sys.modules.get("left_behind")),
    "environ": (
        lambda marker: os.environ.update(LEFT_BEHIND=marker.hex()),
        lambda: os.environ.get("LEFT_BEHIND"),
    ),
    "file": (leave_file("file"), see_file("file")),
    "shared": (leave_file("shared"), see_file("shared")),
    "pipe": (lambda marker: os.write(writer, marker), see_pipe),
    "folder": (lambda _: os.chdir(SCRATCH), lambda: None if os.getcwd() == usual["folder"] else os.getcwd()),
    "thread": (leave_thread, lambda: True if threading.active_count() > usual["threads"] else None),
    "handler": (
        lambda marker: signal.signal(signal.SIGUSR1, lambda *_: marker),
        lambda: None if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL else True,
    ),
}


def parse(text):
    """The planted form, or None if `text` is no marker."""
    try:
        sent = bytes.fromhex(text or "")
    except ValueError:
        return None
    return bytes(byte ^ MASK for byte in sent) if len(sent) == BYTES else None


def leave_garbage(marker):
    for _ in range(COPIES):
        bytearray(marker)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global calls
        calls += 1
        survived = [name for name, (_, see) in PLACES.items() if see() is not None]
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        marker = parse(query.get("plant", [""])[0])
        if marker:
            for leave, _ in PLACES.values():
                leave(marker)
            leave_garbage(marker)
        text = {"planted": marker is not None, "survived": survived, "counter": calls}
        body = json.dumps(text).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # One connection at a time is served: none is to be held.
        self.close_connection = True

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    # The first process of a sandbox has no default for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socketserver.TCPServer.allow_reuse_address = True
    http.server.HTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
