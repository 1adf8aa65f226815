"""Keeps the first `?value=V` that it is ever sent, and answers what it keeps.

In a clean area that is always the value of this very request.
"""

import guest
from wit_world import exports

kept = None


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        global kept
        if kept is None:
            kept = guest.query(request, "value") or ""
        guest.answer(response_out, 200, f"{kept}\n")
