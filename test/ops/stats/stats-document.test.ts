// The document as others rely on it. Members may be added to its schema; none may be renamed or removed while `schema`
// is 1.
import t from "tap";
import { z } from "zod";
import { statsSchema } from "../../../src/ops/api/stats-schema.ts";
import type { StatsDocument } from "../../../src/ops/stats/stats-document.ts";
import { fullDocument, sampleDocument } from "../../fixtures/stats-samples.ts";

t.test("an empty document and a full one keep the schema, also as JSON", (t) => {
  for (const document of [sampleDocument(), fullDocument("text")]) {
    const json = JSON.parse(JSON.stringify(document)) as StatsDocument;
    t.same(json, document, "nothing is lost on the way");
    const { error } = statsSchema.safeParse(json);
    t.equal(error, undefined, error === undefined ? "valid" : z.prettifyError(error));
  }
  t.end();
});

t.test("the schema's test can fail", (t) => {
  const { verdict, ...rest } = sampleDocument();
  t.notOk(statsSchema.safeParse(rest).success);
  t.notOk(statsSchema.safeParse({ ...rest, verdict, more: 1 }).success);
  t.end();
});
