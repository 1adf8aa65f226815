// The same handler, for the official Lambda client.
'use strict';

const { handle } = require('./handler.js');

exports.handler = async (event) => ({
  statusCode: 200,
  headers: { 'content-type': 'text/plain' },
  body: handle(event.rawQueryString),
});
