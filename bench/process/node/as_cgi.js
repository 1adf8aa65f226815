// The same handler, a process for each request by CGI.
'use strict';

const { handle } = require('./handler.js');

const body = handle(process.env.QUERY_STRING ?? '');
process.stdout.write(
  `Content-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
