"use strict";
// support.py for Node: the examples, the keys, cases that print TAP, and a watch on connections.

const assert = require("node:assert/strict");
const net = require("node:net");

const TOLERANCE = 1e-4;
const settings = JSON.parse(process.env.RR_CLIENT_TEST);
const cases = [];
const elsewhere = [];

class Example {
  constructor(settings) {
    Object.assign(this, settings);
  }

  // `ranked`: pairs of index and score in the client's order; all documents, or topN of them.
  check(ranked, topN = this.documents.length) {
    const indices = ranked.map(([index]) => index);
    const scores = ranked.map(([, score]) => score);
    assert.equal(indices.length, topN, this.name);
    assert.equal(new Set(indices).size, topN, this.name);
    assert.ok(indices.every((index) => Number.isInteger(index) && index in this.documents), this.name);
    assert.equal(indices[0], this.best, this.name);
    assert.deepEqual(scores, [...scores].sort((a, b) => b - a), this.name);
    assert.ok(scores[0] > scores.at(-1), this.name);
    for (const [index, score] of this.scores ? ranked : []) {
      assert.ok(Math.abs(score - this.scores[index]) <= TOLERANCE, `${this.name}: ${index}: ${score}`);
    }
  }
}

// The call must reject with exactly this class, whose message tells the server's words.
async function rejects(kind, word, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.constructor, kind, String(error.stack));
    assert.ok(error.message.includes(word), error.message);
    return true;
  });
}

// Refuses every connection but to loopback, and keeps it in mind.
function watch() {
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...given) {
    const first = Array.isArray(given[0]) ? given[0][0] : given[0];
    const host = typeof first === "object" ? first.host : given[1];
    if (!["127.0.0.1", "localhost", "::1"].includes(host)) {
      elsewhere.push(host);
      throw new Error(`this test speaks to loopback only, not to ${host}`);
    }
    return connect.apply(this, given);
  };
}

async function main() {
  watch();
  cases.push(["speaks to nobody else", async () => assert.deepEqual(elsewhere, [])]);
  console.log(`1..${cases.length}`);
  for (const [at, [name, run]] of cases.entries()) {
    try {
      await run();
      console.log(`ok ${at + 1} - ${name}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`not ok ${at + 1} - ${name}\n# ${String(error.stack).replaceAll("\n", "\n# ")}`);
    }
  }
}

const examples = settings.examples.map((example) => new Example(example));
module.exports = {
  assert,
  case: (name, run) => cases.push([name, run]),
  examples,
  first: examples[0],
  key: settings.key,
  main,
  model: "any-name-does",
  rejects,
  tooMany: Array.from({ length: settings.limit + 1 }, (_, i) => `text ${i}`),
  wrongKey: "not-" + settings.key,
};
