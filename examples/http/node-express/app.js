// An Express application on $PORT.
"use strict";

const express = require("express");
const { setTimeout: pause } = require("node:timers/promises");

const PIECES = 5;
const PAUSE_MS = 20;
const SLOW_MS = 120_000;
const HOG_PIECE_BYTES = 1 << 20;

const app = express();
let count = 0;

app.get("/", (_, reply) => reply.send("hello from Express\n"));
app.get("/counter", (_, reply) => reply.send(String(++count)));
app.get("/headers", (request, reply) => reply.json(request.headers));
// Sends the body back, piece by piece as it comes, the head before all of it.
app.all("/echo", (request, reply) => {
  reply.flushHeaders();
  request.pipe(reply);
});
app.get("/stream", async (_, reply) => {
  for (let i = 0; i < PIECES; i++) {
    reply.write(`piece ${i}\n`);
    await pause(PAUSE_MS);
  }
  reply.end();
});
app.get("/slow", async (_, reply) => {
  console.log("begun");
  await pause(SLOW_MS);
  reply.send("at last\n");
});
app.get("/crash", () => process.abort());
app.get("/hog", () => {
  const held = [];
  for (;;) held.push(Buffer.alloc(HOG_PIECE_BYTES, 0x55));
});

// The first process of a sandbox has no default for it.
process.on("SIGTERM", () => process.exit(0));
app.listen(Number(process.env.PORT ?? 8080));
