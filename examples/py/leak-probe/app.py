"""Leaves a marker wherever Python can leave something (`?plant=HEX`, 32 digits), or tells where one was left
(`?seek=HEX`), as JSON.

What is planted is the marker with each byte XORed by 0xa5: that form stands in no request. Python does not look at
its own memory here; a host that scans it finds the bytes of what was planted, of garbage too.
"""

import builtins
import functools
import json
import os
import sys
import types

import guest
from wit_world import exports

MASK = 0xA5
BYTES = 16
COPIES = 64
FILE = "left-behind"

calls = 0
variable = None
mapping = {}


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
    cached(0)
    del mapping["cached"]


def see_cached():
    found = cached(0)
    if found is None:
        cached.cache_clear()
    return found


def leave_module(marker):
    sys.modules["left_behind"] = types.ModuleType("left_behind", marker.decode("latin-1"))


def leave_file(marker):
    try:
        with open(FILE, "wb") as file:
            file.write(marker)
    except OSError:
        pass  # A function has no files; should it have some, this is one more place to look at.


def see_file():
    try:
        with open(FILE, "rb") as file:
            return file.read()
    except OSError:
        return None


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
        lambda marker: setattr(IncomingHandler, "left_behind", marker),
        lambda: getattr(IncomingHandler, "left_behind", None),
    ),
    "modules": (leave_module, lambda: sys.modules.get("left_behind")),
    "environ": (
        lambda marker: os.environ.update(LEFT_BEHIND=marker.hex()),
        lambda: os.environ.get("LEFT_BEHIND"),
    ),
    "file": (leave_file, see_file),
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


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        global calls
        calls += 1
        survived = [name for name, (_, see) in PLACES.items() if see() is not None]
        marker = parse(guest.query(request, "plant"))
        if marker:
            for leave, _ in PLACES.values():
                leave(marker)
            leave_garbage(marker)
        text = {"planted": marker is not None, "survived": survived, "counter": calls}
        guest.answer(response_out, 200, json.dumps(text) + "\n")
