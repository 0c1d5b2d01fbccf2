import t from "tap";
import { openIndex } from "../../src/storage/sqlite-index.ts";
import { linkStoreSuite } from "../fixtures/link-store-suite.ts";

t.test("the suite of every LinkStore", (t) =>
  linkStoreSuite(t, async (t) => {
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    return index.links;
  }),
);
