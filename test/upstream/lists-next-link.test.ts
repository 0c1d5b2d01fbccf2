import t from "tap";
import { nextQuery } from "../../src/upstream/lists.ts";

t.test("the query of the next page, and nothing where there is none", async (t) => {
  const links: [string | string[] | undefined, string | undefined][] = [
    [undefined, undefined],
    ["", undefined],
    ["</v2/a/tags/list?n=2&last=b>; rel=next", "n=2&last=b"],
    ['<https://far.example/x?last=b#part>; title="t"; rel="next"', "last=b"],
    ['</x?last=1>; rel="prev", </x?last=2>; rel="next"', "last=2"],
    [['</x?last=1>; rel="prev"', '</x?last=2>; rel="next"'], "last=2"],
    ["</x?last=1>; REL=Next", "last=1"],
    // An empty query asks for the first page again, and again.
    ["</v2/a/tags/list?>; rel=next", undefined],
    ["</v2/a/tags/list>; rel=next", undefined],
    ["</v2/a/tags/list?>; rel=next, </x?last=2>; rel=next", "last=2"],
    ["</x?last=1>; rel=nextish", undefined],
    ['</x?last=1>; rel="prev next"', "last=1"],
    ['</x?last=1>; rel="next first"', "last=1"],
    ['</x?last=1>; rel=""', undefined],
    // Without rel it is the next page, unless another link says that it is.
    ["</x?last=1>", "last=1"],
    ['</x?last=1>; title="more"', "last=1"],
    ["<?last=1>, </x?last=2>", "last=1"],
    ['</x?last=1>, </x?last=2>; rel="next"', "last=2"],
    ["</x>", undefined],
    ["/x?last=1; rel=next", undefined],
    [`</x?last=${"y".repeat(2048 - "/x?last=".length)}>; rel=next`, `last=${"y".repeat(2040)}`],
    [`</x?last=${"y".repeat(2049 - "/x?last=".length)}>; rel=next`, undefined],
  ];
  for (const [header, query] of links)
    t.equal(nextQuery(header)?.toString(), query, String(header).slice(0, 80));
});
