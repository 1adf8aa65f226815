"""Counts its own calls in a module's variable: "1" in every clean area."""

import guest
from wit_world import exports

calls = 0


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        global calls
        calls += 1
        guest.answer(response_out, 200, f"{calls}\n")
