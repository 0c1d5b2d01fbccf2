import t from "tap";
import { type Arrangement, arrange } from "../../../src/ops/page/arrange.ts";
import { h, type PageNode, toHtml } from "../../../src/ops/page/html.ts";
import { section, table } from "../../../src/ops/page/parts.ts";

const bytes = (by: number | null, shown: string) => ({ shown, by });

function page(id = "repositories"): PageNode {
  const rows = [
    ["team/b", bytes(2000, "2 kB"), "1,000"],
    ["team/a", bytes(null, "–"), "–"],
    ["other/c", bytes(30, "30 B"), "20"],
  ];
  const columns = [
    { name: "Repository" },
    { name: "Sent", number: true as const },
    { name: "Misses", number: true as const },
  ];
  return h(
    "div",
    {},
    section(id, "Top", table("Top", columns, rows, "")),
    h("ul", {}, h("li", {}, "all is well")),
  );
}

function shown(arrangement: Partial<Arrangement>, of = page()): string[] {
  const html = toHtml(arrange(of, { filter: "", orders: new Map(), ...arrangement }));
  return [...html.matchAll(/<tr><td>([^<]*)/g)].map(([, name]) => name as string);
}

function by(column: number, down: boolean) {
  return { orders: new Map([["Top, table", { column, down }]]) };
}

t.test("nothing is asked for: the order of the page, and a button for each column", (t) => {
  t.strictSame(shown({}), ["team/b", "team/a", "other/c"]);
  const html = toHtml(arrange(page(), { filter: "", orders: new Map() }));
  t.match(
    html,
    /<th scope="col"><button type="button" class="sort" data-table="Top, table" data-column="0">Repository</,
  );
  t.end();
});

t.test(
  "sorted by text, by what a number means, and by the number that is shown; what has none is last",
  (t) => {
    t.strictSame(shown(by(0, false)), ["other/c", "team/a", "team/b"]);
    t.strictSame(shown(by(0, true)), ["team/b", "team/a", "other/c"]);
    t.strictSame(shown(by(1, false)), ["other/c", "team/b", "team/a"]);
    t.strictSame(shown(by(1, true)), ["team/b", "other/c", "team/a"]);
    t.strictSame(shown(by(2, true)), ["team/b", "other/c", "team/a"]);
    t.match(
      toHtml(arrange(page(), { filter: "", ...by(1, true) })),
      /aria-sort="descending"><button[^>]*>Sent</,
    );
    t.end();
  },
);

t.test("filtered: lists of names, and nothing else", (t) => {
  t.strictSame(shown({ filter: "TEAM" }), ["team/b", "team/a"]);
  t.strictSame(shown({ filter: "nothing" }), []);
  t.strictSame(shown({ filter: "team" }, page("upstreams")).length, 3);
  t.match(toHtml(arrange(page(), { filter: "team", orders: new Map() })), /all is well/);
  t.end();
});
