"""The same handler, for the official Lambda client."""

from handler import handle


def handler(event, _context):
    body = handle(event["rawQueryString"])
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": body.decode()}
