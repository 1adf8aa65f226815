// Keeps all that it is told, in memory, in its environment and in a file, and says what it finds.
"use strict";

const { randomUUID } = require("node:crypto");
const { existsSync, writeFileSync } = require("node:fs");
const { createServer } = require("node:http");

const FILE = `${process.env.TMPDIR}/kept`;
const kept = [];

const server = createServer((request, reply) => {
  const found = [kept.length > 0, "KEPT" in process.env, existsSync(FILE)].filter(Boolean).length;
  const marker = request.url.split("?")[1];
  kept.push(marker);
  process.env.KEPT = marker;
  writeFileSync(FILE, marker);
  const random = [String(Math.random()), randomUUID()];
  reply.end(JSON.stringify({ count: kept.length, found, random }));
});

process.on("SIGTERM", () => process.exit(0));
server.listen(Number(process.env.PORT), "127.0.0.1");
