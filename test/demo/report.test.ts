import t from "tap";
import { formatRatio, formatTable, formatTime, hitRatio, totals } from "../../src/demo/report.ts";

const steps = [
  { name: "cold", clients: 1, ms: 2091, received: 24_000_000, link: { requests: 8, bytes: 24_000_100 } },
  { name: "fleet", clients: 10, ms: 700, received: 280_000_000, link: { requests: 4, bytes: 8_000_000 } },
];

t.test("the hit ratio is the share that did not cross the link", async (t) => {
  t.equal(hitRatio(100, 25), 0.75);
  t.equal(hitRatio(100, 101), 0, "a challenge on top of a miss is no negative ratio");
  t.equal(hitRatio(0, 0), 0);
  t.equal(formatRatio(1), "100 %");
  t.equal(formatRatio(0.99999), "99.9 %", "not 100 before it is");
});

t.test("times", async (t) => {
  t.equal(formatTime(34.4), "34 ms");
  t.equal(formatTime(2091), "2.09 s");
});

t.test("the table is aligned and ends in totals", async (t) => {
  const lines = formatTable(steps);
  t.equal(new Set(lines.map((line) => line.length)).size, 1, "all lines are equally long");
  t.match(lines.at(-1), /^all together .* 304 MB +32\.0 MB +12 +89\.4 %$/);
  t.match(lines[3], /^fleet +10 +700 ms +280 MB +8\.00 MB +4 +97\.1 %$/);
  t.same(totals(steps), { received: 304_000_000, link: { requests: 12, bytes: 32_000_100 } });
});
