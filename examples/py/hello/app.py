"""Greets: the smallest function."""

import guest
from wit_world import exports


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        guest.answer(response_out, 200, "Hello from Python\n")
