"""Answers a random value from each of Python's sources, as JSON."""

import json
import os
import random
import secrets
import uuid

import guest
from wit_world import exports

BYTES = 16


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        values = {
            "random": random.random(),
            "uuid4": str(uuid.uuid4()),
            "secrets": secrets.token_hex(BYTES),
            "urandom": os.urandom(BYTES).hex(),
        }
        guest.answer(response_out, 200, json.dumps(values) + "\n")
