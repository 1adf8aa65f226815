// What every front of the Node program answers: a greeting, work, and a count; see the Python one.
'use strict';

const PAGE = 4096;
const table = new Uint32Array(4096);
const kept = Buffer.alloc(16 << 20);
let seen = 0;

function work(steps) {
  let x = 1;
  for (let step = 0; step < steps; step++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    table[x >>> 20] ^= x;
  }
  return x;
}

function dirty(size) {
  for (let at = 0; at < Math.min(size, kept.length); at += PAGE) kept[at] ^= 1;
  return kept[0];
}

exports.handle = (query) => {
  seen += 1;
  if (query === 'count') return `${seen}\n`;
  if (query.startsWith('dirty=')) return `${dirty(Number(query.slice(6)))}\n`;
  if (query.startsWith('work=')) return `${work(Number(query.slice(5)))}\n`;
  return 'Hello from a program\n';
};
