// A function: a server on $PORT. Every request meets it as it was before its first one.
"use strict";

const http = require("node:http");

const page = (path) => `<!doctype html>
<title>my-function</title>
<h1>Hello from JavaScript</h1>
<p>You asked for ${path.replaceAll("<", "&lt;")}
`;

const server = http.createServer((request, reply) => {
  reply.setHeader("content-type", "text/html; charset=utf-8");
  reply.end(page(request.url));
});

server.listen(Number(process.env.PORT), "127.0.0.1");
