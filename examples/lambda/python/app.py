"""A function for the official Python client (awslambdaric): everything that can go right or wrong.

What it does is the event's `do`, or the path of a function URL.
"""

import base64
import os
import random
import time

from snapshot_restore_py import register_after_restore, register_before_snapshot

if os.environ.get("USHER_INIT_FAIL"):
    raise RuntimeError("the initialisation fails on purpose")

calls = 0
# What SnapStart's hooks make: they run where the manifest says snap_start.
snapshots = 0
restores = 0
seeded = random.Random()
forgotten = random.Random()


@register_before_snapshot
def before_snapshot():
    global snapshots
    snapshots += 1
    if os.environ.get("USHER_SNAPSHOT_FAIL"):
        raise RuntimeError("the hook before the snapshot fails on purpose")


@register_after_restore
def after_restore():
    global restores
    restores += 1
    seeded.seed(os.urandom(32))
    how = os.environ.get("USHER_RESTORE_FAIL")
    if how == "raise":
        raise RuntimeError("the hook after the restore fails on purpose")
    if how == "exit":
        os._exit(9)
    if how == "told" and os.path.exists("fail"):
        raise RuntimeError("the hook fails when it is told to")
    if how == "later":
        with open(os.environ["USHER_GENERATION"], "rb") as page:
            if page.read(1)[0] > 2:
                raise RuntimeError("the hook fails when the state was given back")


def handler(event, context):
    global calls
    calls += 1
    what = event.get("do") or event.get("rawPath", "/").strip("/") or "hello"
    query = event.get("queryStringParameters") or event
    if what == "hello":
        return "hello from Python"
    if what == "counter":
        return calls
    if what == "echo":
        return event
    if what == "hooks":
        return {
            "calls": calls,
            "snapshots": snapshots,
            "restores": restores,
            "seeded": seeded.random(),
            "forgotten": forgotten.random(),
        }
    if what == "context":
        return {
            "id": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "name": context.function_name,
            "memory": context.memory_limit_in_mb,
            "left_ms": context.get_remaining_time_in_millis(),
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
            "client": context.client_context and context.client_context.custom,
        }
    if what == "reply":
        return {
            "statusCode": 418,
            "headers": {"Content-Type": "text/plain", "X-Kind": "tea"},
            "cookies": ["a=1", "b=2"],
            "body": base64.b64encode(b"a teapot").decode(),
            "isBase64Encoded": True,
        }
    if what == "raise":
        raise ValueError("raised on purpose")
    if what == "large":
        return "x" * (7 * 1024 * 1024)
    if what == "sleep":
        time.sleep(int(query.get("ms", 60_000)) / 1000)
        return "slept"
    if what == "exit":
        os._exit(int(query.get("status", 7)))
    if what == "malformed":
        return {"statusCode": "no status"}
    if what == "unserialisable":
        return object()
    return {"statusCode": 404, "body": f"nothing is called {what}"}
