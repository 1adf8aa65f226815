"""The same handler, a process for each request by CGI."""

import os
import sys

from handler import handle

body = handle(os.environ.get("QUERY_STRING", ""))
head = b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
sys.stdout.buffer.write(head + body)
