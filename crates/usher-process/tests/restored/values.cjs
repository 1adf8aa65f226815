// Answers each connection with values of every generator that Node has.
'use strict';

const crypto = require('node:crypto');
const net = require('node:net');
const vm = require('node:vm');

const realm = vm.createContext({});

function values() {
  return {
    'Math.random': Math.random(),
    'realm': vm.runInContext('Math.random()', realm),
    'new-realm': vm.runInNewContext('Math.random()'),
    'randomBytes': crypto.randomBytes(16).toString('hex'),
    'getRandomValues': Buffer.from(crypto.webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    'randomUUID': crypto.randomUUID(),
    'web-randomUUID': globalThis.crypto.randomUUID(),
    'randomInt': crypto.randomInt(2 ** 47),
    'key': crypto.generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x,
  };
}

net.createServer((connection) => {
  connection.end(Object.entries(values()).map((pair) => pair.join(' ')).join('\n'));
}).listen(8080, '127.0.0.1', () => console.log('ready'));
