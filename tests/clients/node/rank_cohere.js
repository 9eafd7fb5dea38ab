"use strict";
// cohere-ai's CohereClient and CohereClientV2.

const { Cohere, CohereClient, CohereClientV2 } = require("cohere-ai");

const { assert, case: test, examples, first, key, main, model, rejects, tooMany, wrongKey } = require("./support.js");

const clients = { CohereClient, CohereClientV2 };

function client(kind, example = first, token = key) {
  return new clients[kind]({ token, environment: example.url });
}

function pairs(response) {
  return response.results.map((result) => [result.index, result.relevanceScore]);
}

for (const kind of Object.keys(clients)) {
  test(`${kind} ranks`, async () => {
    for (const example of examples) {
      const { query, documents } = example;
      const response = await client(kind, example).rerank({ model, query, documents });
      example.check(pairs(response));
      assert.equal(response.meta.billedUnits.searchUnits, 1);
      example.check(pairs(await client(kind, example).rerank({ model, query, documents, topN: 2 })), 2);
    }
  });

  test(`${kind} is refused with a wrong key`, () =>
    rejects(Cohere.UnauthorizedError, "key", () =>
      client(kind, first, wrongKey).rerank({ model, query: "q", documents: ["d"] })));

  test(`${kind} tells that there are no documents`, () =>
    rejects(Cohere.BadRequestError, "documents", () => client(kind).rerank({ model, query: "q", documents: [] })));

  test(`${kind} tells that there are too many documents`, () =>
    rejects(Cohere.UnprocessableEntityError, "documents", () =>
      client(kind).rerank({ model, query: "q", documents: tooMany })));
}

test("CohereClient gives documents back", async () => {
  for (const example of examples) {
    const { query, documents } = example;
    const response = await client("CohereClient", example).rerank({ model, query, documents, returnDocuments: true });
    example.check(pairs(response));
    for (const result of response.results) {
      assert.equal(result.document.text, documents[result.index]);
    }
  }
});

main();
