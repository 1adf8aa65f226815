"""Counts its lines, and changes as many bytes of a large piece of memory as each line says."""

import os
import sys

print(os.getpid(), flush=True)
big = bytearray(20 << 20)
count = 0
for line in sys.stdin:
    count += 1
    for at in range(0, int(line.split()[1]), 4096):
        big[at] = (big[at] + 1) % 256
    print(count * 1000 + big[0], flush=True)
