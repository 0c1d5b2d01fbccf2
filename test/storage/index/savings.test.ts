import t, { type Test } from "tap";
import type { SavingsRow } from "../../../src/ports/datacenter/savings.ts";
import { Layout } from "../../../src/storage/disk/layout.ts";
import { Database } from "../../../src/storage/index/database.ts";
import { SqliteSavings } from "../../../src/storage/index/savings.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";

function row(changes: Partial<SavingsRow> = {}): SavingsRow {
  return {
    month: "2026-11",
    team: "a",
    upstream: "hub",
    requests: 1,
    roundTripsSaved: 2,
    sentBytes: 3_000_000_000_000,
    fetchedBytes: 4,
    pricePerGB: undefined,
    ...changes,
  };
}

/** With a bound of its own. */
function bounded(t: Test, max: number): SqliteSavings {
  const directory = t.testdir();
  openIndex({ directory, clock: Date.now }).close();
  const database = new Database(new Layout(directory), undefined);
  t.teardown(() => database.close());
  return new SqliteSavings(database, max);
}

t.test("sums are added, prices replaced, and all is there after a restart", (t) => {
  const directory = t.testdir();
  const before = openIndex({ directory, clock: Date.now });
  before.savings.add([row({ pricePerGB: 0.1 }), row({ team: "b" })]);
  before.savings.add([row({ pricePerGB: 0.2 }), row({ month: "2026-12" })]);
  before.savings.add([]);
  before.close();
  const after = openIndex({ directory, clock: Date.now });
  t.teardown(() => after.close());
  t.strictSame(after.savings.rows(), [
    row({ requests: 2, roundTripsSaved: 4, sentBytes: 6_000_000_000_000, fetchedBytes: 8, pricePerGB: 0.2 }),
    row({ team: "b" }),
    row({ month: "2026-12" }),
  ]);
  t.strictSame(after.savings.rows("2026-12"), [row({ month: "2026-12" })]);
  t.strictSame(after.savings.rows("2025-01"), []);
  t.end();
});

t.test("thirteen months are kept, whatever the clock says", (t) => {
  const savings = bounded(t, 10);
  const months = Array.from({ length: 20 }, (_, at) =>
    new Date(Date.UTC(2025, at)).toISOString().slice(0, 7),
  );
  for (const month of months) savings.add([row({ month }), row({ month, team: "b" })]);
  const kept = (): string[] => [...new Set(savings.rows().map(({ month }) => month))];
  t.strictSame(kept(), months.slice(-13));
  savings.add([row({ month: "2031-01" })]);
  t.strictSame(kept(), [...months.slice(-12), "2031-01"], "a clock that was wrong costs one month");
  t.end();
});

t.test("of a month with too many pairs, what is new counts as other", (t) => {
  const savings = bounded(t, 3);
  for (const team of ["a", "b", "c", "d", "e"]) savings.add([row({ team, pricePerGB: 1 })]);
  savings.add([row({ team: "a" }), row({ month: "2026-12", team: "e" })]);
  t.match(savings.rows("2026-11"), [
    { team: "a", requests: 2 },
    { team: "b", requests: 1 },
    { team: "c", requests: 1 },
    { team: "other", upstream: "other", requests: 2, pricePerGB: undefined },
  ]);
  t.match(savings.rows("2026-12"), [{ team: "e" }], "each month has its own");
  t.end();
});

t.test("all rows or none", (t) => {
  const savings = bounded(t, 10);
  t.throws(() => savings.add([row(), row({ team: "b", requests: 0.5 })]), { code: /./ });
  t.strictSame(savings.rows(), []);
  t.end();
});
