// A function for the official Node client (aws-lambda-ric): everything that can go right or wrong.
//
// What it does is the event's `do`, or the path of a function URL. `handler` replies with a value,
// `stream` with a stream.

if (process.env.USHER_INIT_FAIL) {
  throw new Error("the initialisation fails on purpose");
}

let calls = 0;

const wanted = (event) => event.do || (event.rawPath || "/").replaceAll("/", "") || "hello";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export const handler = async (event, context) => {
  calls += 1;
  const query = event.queryStringParameters || event;
  switch (wanted(event)) {
    case "hello":
      return "hello from Node";
    case "counter":
      return calls;
    case "echo":
      return event;
    case "context":
      return {
        id: context.awsRequestId,
        arn: context.invokedFunctionArn,
        name: context.functionName,
        memory: context.memoryLimitInMB,
        left_ms: context.getRemainingTimeInMillis(),
        trace: process.env._X_AMZN_TRACE_ID,
        client: context.clientContext?.custom,
      };
    case "reply":
      return {
        statusCode: 418,
        headers: { "Content-Type": "text/plain", "X-Kind": "tea" },
        cookies: ["a=1", "b=2"],
        body: Buffer.from("a teapot").toString("base64"),
        isBase64Encoded: true,
      };
    case "raise":
      throw new TypeError("raised on purpose");
    case "large":
      return "x".repeat(7 * 1024 * 1024);
    case "sleep":
      await sleep(Number(query.ms ?? 60_000));
      return "slept";
    case "exit":
      return process.exit(Number(query.status ?? 7));
    case "malformed":
      return { statusCode: "no status" };
    case "unserialisable": {
      const loop = {};
      loop.loop = loop;
      return loop;
    }
    default:
      return { statusCode: 404, body: "nothing is called so" };
  }
};

export const stream = globalThis.awslambda?.streamifyResponse(async (event, reply) => {
  calls += 1;
  const what = wanted(event);
  if (what === "raise") {
    throw new TypeError("raised on purpose");
  }
  if (what !== "plain") {
    const head = {
      statusCode: 201,
      headers: { "Content-Type": "text/plain", "X-Kind": "stream" },
      cookies: ["a=1"],
    };
    reply = awslambda.HttpResponseStream.from(reply, head);
  }
  reply.write("one,");
  await sleep(20);
  reply.write("two,");
  if (what === "cut") {
    await sleep(20);
    throw new TypeError("cut on purpose");
  }
  if (what === "exit") {
    await sleep(20);
    process.exit(7);
  }
  reply.write("three");
  reply.end();
  await reply.finished?.();
});
