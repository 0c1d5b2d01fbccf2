import t from "tap";
import { StoreError } from "../../src/ports/blobs.ts";
import { noticeOfStoreError } from "../../src/ports/store-notice.ts";

t.test("a store's own code is told; anything else is io", async (t) => {
  t.same(noticeOfStoreError("open", new StoreError("no_space", "full")), {
    kind: "store_error",
    op: "open",
    code: "no_space",
    message: "full",
  });
  t.same(noticeOfStoreError("evict", new TypeError("odd")), {
    kind: "store_error",
    op: "evict",
    code: "io",
    message: "odd",
  });
  t.match(noticeOfStoreError("evict", "a string"), { code: "io", message: "a string" });
});
