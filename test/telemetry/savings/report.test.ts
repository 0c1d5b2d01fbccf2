import t from "tap";
import type { SavingsRow } from "../../../src/ports/datacenter/savings.ts";
import {
  datacenterSavings,
  isMonth,
  nodeSavings,
  savingsCsv,
  savingsDocument,
} from "../../../src/telemetry/savings/report.ts";

function row(changes: Partial<SavingsRow>): SavingsRow {
  return {
    month: "2026-11",
    team: "a",
    upstream: "hub",
    requests: 1,
    roundTripsSaved: 1,
    sentBytes: 3_000_000_000,
    fetchedBytes: 1_000_000_000,
    pricePerGB: undefined,
    ...changes,
  };
}

t.test("money is that of the bytes saved, for those with a price; teams that save most come first", (t) => {
  const document = savingsDocument(
    "2026-11",
    [
      row({ team: "a", pricePerGB: 0.1 }),
      row({ team: "a", upstream: "free" }),
      row({ team: "b", sentBytes: 9_000_000_000, pricePerGB: 0.333333 }),
      row({ team: "c", sentBytes: 0, pricePerGB: 1 }),
      row({ team: "d", sentBytes: 1_000_000_000 }),
    ],
    "EUR",
  );
  t.strictSame(
    document.teams.map(({ team, savedBytes, moneySaved }) => [team, savedBytes, moneySaved]),
    [
      ["b", 8_000_000_000, 2.666664],
      ["a", 4_000_000_000, 0.2],
      ["d", 0, null],
      ["c", -1_000_000_000, -1],
    ],
  );
  t.match(document.total, { requests: 5, savedBytes: 11_000_000_000, moneySaved: 1.866664 });
  t.end();
});

t.test("without rows there are no sums, and no money", (t) => {
  const { total, teams } = savingsDocument("all", [], undefined);
  t.match(total, { requests: 0, savedBytes: 0, moneySaved: null });
  t.strictSame(teams, []);
  t.end();
});

t.test("CSV has a line for each row, and nothing where nothing is known", (t) => {
  const text = savingsCsv(savingsDocument("all", [row({}), row({ team: "b", pricePerGB: 2 })], "EUR"));
  t.strictSame(text.split("\r\n").slice(1), [
    "2026-11,a,hub,1,1,3000000000,1000000000,2000000000,,,EUR",
    "2026-11,b,hub,1,1,3000000000,1000000000,2000000000,2,4,EUR",
    "",
  ]);
  t.end();
});

t.test("what is a month", (t) => {
  for (const month of ["2026-01", "2026-12", "all"]) t.ok(isMonth(month), month);
  for (const month of ["2026-00", "2026-13", "26-01", "2026-1", "", "all ", "2026-01-01"])
    t.notOk(isMonth(month), month);
  t.end();
});

t.test("the ledgers of several nodes add up, row by row, and each is told", (t) => {
  const ledgers = [
    { name: "b", savings: nodeSavings([row({ pricePerGB: 0.1 }), row({ team: "z" })], "EUR") },
    { name: "a", savings: nodeSavings([row({ pricePerGB: 0.1 }), row({ month: "2026-10" })], "EUR") },
    { name: "c", savings: nodeSavings([row({ pricePerGB: 0.3 })], "EUR") },
    { name: "d", savings: nodeSavings([row({ pricePerGB: 9 })], "USD") },
  ];
  const document = datacenterSavings("all", 1000, ledgers, ["e"]);
  const [first] = ledgers as [(typeof ledgers)[0]];
  t.strictSame(
    document.rows.map(({ month, team, requests, savedBytes, pricePerGB, moneySaved }) => {
      return [month, team, requests, savedBytes, pricePerGB, moneySaved];
    }),
    [
      ["2026-10", "a", 1, 2e9, null, null],
      ["2026-11", "a", 4, 8e9, null, 0.2 + 0.2 + 0.6],
      ["2026-11", "z", 1, 2e9, null, null],
    ],
    "each node's bytes at its own price, and none of another currency",
  );
  t.strictSame(
    document.nodes.map(({ name, self, savedBytes, moneySaved }) => [name, self, savedBytes, moneySaved]),
    [
      ["a", false, 4e9, 0.2],
      ["b", true, 4e9, 0.2],
      ["c", false, 2e9, 0.6],
      ["d", false, 2e9, null],
    ],
  );
  t.match(document, { month: "all", currency: "EUR", silentNodes: ["e"], total: { savedBytes: 12e9 } });
  const alone = datacenterSavings("2026-11", 1000, [first], []);
  const { at, nodes, silentNodes, ...same } = alone;
  t.strictSame(same, savingsDocument("2026-11", first.savings.rows, "EUR"), "alone it is the node's own");
  t.end();
});

t.test("of more rows than are told the largest are, and the sums stay", (t) => {
  const ledger = [1, 2, 3, 4, 5].flatMap((size) =>
    ["2026-10", "2026-11"].map((month) =>
      row({ month, team: `t${size}`, sentBytes: size, fetchedBytes: 0, pricePerGB: 1 }),
    ),
  );
  const { rows } = nodeSavings(ledger, undefined, 6);
  t.equal(rows.length, 6);
  t.strictSame(
    rows.map(({ month, team, sentBytes, requests, pricePerGB }) => [
      month,
      team,
      sentBytes,
      requests,
      pricePerGB,
    ]),
    [
      ["2026-10", "t5", 5, 1, 1],
      ["2026-11", "t5", 5, 1, 1],
      ["2026-10", "t4", 4, 1, 1],
      ["2026-11", "t4", 4, 1, 1],
      ["2026-10", "other", 6, 3, undefined],
      ["2026-11", "other", 6, 3, undefined],
    ],
  );
  t.strictSame(nodeSavings(ledger, "EUR", 10), { currency: "EUR", rows: ledger });
  t.end();
});
