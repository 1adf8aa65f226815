"""The Python program with ballast."""

import os

import ballast
from server import Handler, Server

assert ballast.KEPT

if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
