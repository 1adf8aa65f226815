"""The same handler, a fork for each request from a parent that has imported everything.

The parent accepts, reads each request's head and forks; the child answers on the connection and
ends. `zygote.py ballast` imports that module first. Only for requests without a body. The paths in
$WARM_UP are answered by the parent before it forks.
"""

import gc
import importlib
import os
import selectors
import socket
import sys

from handler import handle

HEAD_MAX_BYTES = 65536


def answer(connection: socket.socket, head: bytes) -> None:
    target = head.split(b" ", 2)[1].decode()
    body = handle(target.partition("?")[2])
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )


def fork(connection: socket.socket, head: bytes) -> None:
    if os.fork() == 0:
        status = 1
        try:
            answer(connection, head)
            status = 0
        finally:
            os._exit(status)


def read(connection: socket.socket, heads: dict) -> bool:
    """Whether the connection goes on."""
    try:
        data = connection.recv(HEAD_MAX_BYTES)
    except ConnectionError:
        return False
    head = heads.pop(connection, b"") + data
    if not data or len(head) > HEAD_MAX_BYTES:
        return False
    if head.endswith(b"\r\n\r\n"):
        fork(connection, head)
    else:
        heads[connection] = head
    return True


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def serve(listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    heads = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
            elif not read(key.fileobj, heads):
                heads.pop(key.fileobj, None)
                selector.unregister(key.fileobj)
                key.fileobj.close()
        reap()


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for path in os.environ.get("WARM_UP", "").split():
        near, far = socket.socketpair()
        with near, far:
            answer(near, b"GET %s HTTP/1.1\r\n\r\n" % path.encode())
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
    # What is there now is never collected, so that children need not write to it.
    gc.collect()
    gc.freeze()
    serve(listener)
