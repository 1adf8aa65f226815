"""Counts its own calls in a module's variable: "1" in every clean area."""

import guest
from wit_world import exports

calls = 0


class Handler(exports.Handler):
    async def handle(self, request):
        global calls
        calls += 1
        return guest.answer(f"{calls}\n")
