import fc from "fast-check";
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

t.test("of links written as RFC 8288 has them, the first that is the next page", async () => {
  const relation = fc.constantFrom("next", "NEXT", "prev", "first", "nextish", "next first", undefined);
  const link = fc.record({
    query: fc.option(fc.stringMatching(/^last=[a-z0-9]{1,6}$/), { nil: "" }),
    relation,
    quoted: fc.boolean(),
    title: fc.option(fc.stringMatching(/^[a-z ]{0,6}$/), { nil: undefined }),
  });
  type Link = { query: string; relation: string | undefined; quoted: boolean; title: string | undefined };
  const written = ({ query, relation, quoted, title }: Link): string => {
    const mark = quoted || relation?.includes(" ") ? '"' : "";
    const rel = relation === undefined ? "" : `; rel=${mark}${relation}${mark}`;
    return `<https://far.example/v2/a/tags/list?${query}>${title === undefined ? "" : `; title="${title}"`}${rel}`;
  };
  const isNext = ({ relation }: Link) => relation?.toLowerCase().split(" ").includes("next") === true;
  fc.assert(
    fc.property(fc.array(link, { maxLength: 5 }), fc.boolean(), (links, inOneField) => {
      const fields = links.map(written);
      const found = nextQuery(inOneField ? fields.join(", ") : fields)?.toString();
      const usable = links.filter(({ query }) => query !== "");
      const wanted = usable.find(isNext) ?? usable.find(({ relation }) => relation === undefined);
      return found === wanted?.query;
    }),
    { numRuns: 1_000 },
  );
});

t.test("whatever the header, nothing but a query comes of it", async () => {
  const noise = fc.string({ unit: fc.constantFrom(...'<>?;,="/# nextrl:&\\%\r\n'), maxLength: 40 });
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 3 }), (fields) => {
      const query = nextQuery(fields);
      // As it is sent: encoded, so that it cannot end the request line or leave the query.
      return query === undefined || /^[^\s#<>"]*$/.test(query.toString());
    }),
    { numRuns: 2_000 },
  );
});
