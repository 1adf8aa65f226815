// Values of Node's generators, over HTTP.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');

const sources = {
  math: () => Math.random(),
  bytes: () => crypto.randomBytes(16).toString('hex'),
  uuid: () => crypto.randomUUID(),
  kernel: () => {
    const bytes = Buffer.alloc(16);
    const file = fs.openSync('/dev/urandom');
    fs.readSync(file, bytes);
    fs.closeSync(file);
    return bytes.toString('hex');
  },
  web: () => Buffer.from(crypto.webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
};
// Once before any request, so that each of them has its seed.
for (const source of Object.values(sources)) source();
let calls = 0;

http.createServer((request, reply) => {
  const name = request.url.slice(1);
  if (name && !sources[name]) return reply.writeHead(404).end();
  const chosen = Object.entries(sources).filter(([one]) => !name || one === name);
  const drawn = Object.fromEntries(chosen.map(([one, source]) => [one, source()]));
  reply.end(JSON.stringify({ calls: ++calls, build: 'b7f3c9d2e1a04586', ...drawn }));
}).listen(process.env.PORT, '127.0.0.1');
