"""What every front of the Python program answers: a greeting, work, and a count.

`/?work=N` takes N steps of a generator and changes a table that is kept, as real programs change
what they keep; its answer is the same each time. `/?dirty=N` changes a byte of each page in N bytes
that are kept, 16 MiB at most. `/?count` tells how many requests this state has
seen, this one among them.
"""

TABLE = [0] * 4096
PAGE = 4096
KEPT = bytearray(16 << 20)
GREETING = b"Hello from a program\n"
seen = 0


def handle(query: str) -> bytes:
    global seen
    seen += 1
    if query == "count":
        return b"%d\n" % seen
    if query.startswith("dirty="):
        return b"%d\n" % dirty(int(query[6:]))
    if query.startswith("work="):
        return b"%d\n" % work(int(query[5:]))
    return GREETING


def work(steps: int) -> int:
    table, x = TABLE, 1
    for _ in range(steps):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        table[x >> 20] ^= x
    return x


def dirty(size: int) -> int:
    for at in range(0, min(size, len(KEPT)), PAGE):
        KEPT[at] ^= 1
    return KEPT[0]
