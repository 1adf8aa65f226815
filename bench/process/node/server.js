// The Node program: HTTP/1.1 on $PORT.
'use strict';

const http = require('node:http');
const { handle } = require('./handler.js');

const server = http.createServer((request, response) => {
  const body = handle(request.url.split('?')[1] ?? '');
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
  response.end(body);
});
server.listen(Number(process.env.PORT), '127.0.0.1');
