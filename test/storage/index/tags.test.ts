import t from "tap";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { tagStoreSuite } from "../../fixtures/tag-store-suite.ts";

t.test("the suite of every TagStore", (t) =>
  tagStoreSuite(t, async (t) => {
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    return index.tags;
  }),
);
