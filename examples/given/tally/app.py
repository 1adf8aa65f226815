"""Counts in a bucket: `?add=KEY` adds one, `?get=KEY` reads, `?calls` counts this instance's calls."""

import guest
from wit_world import exports
from wit_world.imports import atomics, store

calls = 0


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        global calls
        calls += 1
        if guest.query(request, "calls") is not None:
            return guest.answer(response_out, 200, f"{calls}\n")
        bucket = store.open("default")
        key = guest.query(request, "add")
        if key is not None:
            return guest.answer(response_out, 200, f"{atomics.increment(bucket, key, 1)}\n")
        value = bucket.get(guest.query(request, "get") or "count")
        status, text = (404, "none\n") if value is None else (200, value.decode())
        guest.answer(response_out, status, text)
