// A server of Node's own `http` on $PORT, with WebSocket by the package `ws`.
"use strict";

const http = require("node:http");
const { setTimeout: pause } = require("node:timers/promises");
const { WebSocketServer } = require("ws");

const PIECES = 5;
const PAUSE_MS = 20;
const SLOW_MS = 120_000;
const HOG_PIECE_BYTES = 1 << 20;

let count = 0;

const guests = {
  "/": (_, reply) => reply.end("hello from Node\n"),
  "/counter": (_, reply) => reply.end(String(++count)),
  "/headers": (request, reply) => {
    reply.setHeader("content-type", "application/json");
    reply.end(JSON.stringify(request.headers));
  },
  // Sends the body back, piece by piece as it comes, the head before all of it.
  "/echo": (request, reply) => {
    reply.flushHeaders();
    request.pipe(reply);
  },
  "/stream": async (_, reply) => {
    for (let i = 0; i < PIECES; i++) {
      reply.write(`piece ${i}\n`);
      await pause(PAUSE_MS);
    }
    reply.end();
  },
  "/slow": async (_, reply) => {
    console.log("begun");
    await pause(SLOW_MS);
    reply.end("at last\n");
  },
  "/crash": () => process.abort(),
  "/hog": () => {
    const held = [];
    for (;;) held.push(Buffer.alloc(HOG_PIECE_BYTES, 0x55));
  },
};

const server = http.createServer((request, reply) => {
  const guest = guests[request.url.split("?")[0]];
  if (guest) guest(request, reply);
  else reply.writeHead(404).end("no such guest\n");
});

const sockets = new WebSocketServer({ server, path: "/socket" });
sockets.on("connection", (socket) => {
  socket.on("message", (message, binary) => socket.send(message, { binary }));
  socket.on("error", () => socket.terminate());
});

// The first process of a sandbox has no default for it.
process.on("SIGTERM", () => process.exit(0));
server.listen(Number(process.env.PORT ?? 8080));
