"""An ASGI application for uvicorn on $PORT, without a framework."""

import asyncio
import json
import os

PIECES = 5
PAUSE_S = 0.02
SLOW_S = 120

count = 0


async def body(receive):
    """The pieces of the request's body as they come."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return

    async def begin(status=200, kind=b"text/plain"):
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(data, more=True):
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(text, status=200, kind=b"text/plain"):
        data = text.encode()
        headers = [(b"content-type", kind), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await piece(data, more=False)

    global count
    match scope["path"]:
        case "/":
            await whole("hello from uvicorn\n")
        case "/counter":
            count += 1
            await whole(str(count))
        case "/headers":
            seen = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            await whole(json.dumps(seen), kind=b"application/json")
        case "/echo":
            await begin()
            # An empty piece makes the server send the head before the body has come.
            await piece(b"")
            async for data in body(receive):
                await piece(data)
            await piece(b"", more=False)
        case "/stream":
            await begin()
            for number in range(PIECES):
                await piece(f"piece {number}\n".encode())
                await asyncio.sleep(PAUSE_S)
            await piece(b"", more=False)
        case "/slow":
            print("begun", flush=True)
            await asyncio.sleep(SLOW_S)
            await whole("at last\n")
        case "/crash":
            os.abort()
        case "/hog":
            held = []
            while True:
                held.append(b"\x55" * (1 << 20))
        case _:
            await whole("no such guest\n", 404)
