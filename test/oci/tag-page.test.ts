import t from "tap";
import { tagPage } from "../../src/oci/tag-page.ts";

t.test("every page of a list is what a filter would leave", async (t) => {
  const tags = ["1.0", "10.0", "Latest", "_x", "a", "b", "latest"];
  for (const last of [undefined, "", ...tags, "0", "1.00", "aa", "zzz"])
    for (const n of [undefined, 0, 1, 3, 6, 7, 100]) {
      const rest = tags.filter((tag) => last === undefined || tag > last);
      const page = rest.slice(0, n);
      t.same(
        tagPage(tags, { n, last }),
        { tags: page, more: n !== 0 && page.length < rest.length },
        `${n} ${last}`,
      );
    }
  t.same(tagPage([], { n: 5, last: "a" }), { tags: [], more: false });
});
