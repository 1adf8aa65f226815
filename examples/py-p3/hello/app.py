"""Greets: the smallest function."""

import guest
from wit_world import exports


class Handler(exports.Handler):
    async def handle(self, request):
        return guest.answer("Hello from Python\n")
