import t from "tap";
import type { SavingsRow } from "../../../src/ports/records.ts";
import { isMonth, savingsCsv, savingsDocument } from "../../../src/telemetry/savings/report.ts";

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
