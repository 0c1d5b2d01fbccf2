import t from "tap";
import { StoreError } from "../../../src/ports/blobs.ts";
import type { SavingsRow } from "../../../src/ports/datacenter/savings.ts";
import type { RequestEvent } from "../../../src/ports/event.ts";
import { type LedgerOptions, SavingsLedger } from "../../../src/telemetry/savings/ledger.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const hub = { name: "hub", pricePerGB: 0.25 };

function start(changes: Partial<LedgerOptions> = {}) {
  const clock = new ManualClock();
  const failures: unknown[] = [];
  const ledger = new SavingsLedger({
    teams: [{ name: "team", repositories: ["team/**"], callers: [] }],
    upstreams: [hub],
    clock: clock.read,
    failed: (error) => failures.push(error),
    ...changes,
  });
  const fetched = (bytes: number, repository = "team/app", upstream = "hub") =>
    ledger.onNotice({ kind: "upstream_bytes", upstream, type: "blob", bytes, repository });
  return { clock, ledger, failures, fetched };
}

/** Remembers what it was given, or fails. */
function memoryStore() {
  const written: (readonly SavingsRow[])[] = [];
  return {
    written,
    fails: false,
    add(rows: readonly SavingsRow[]) {
      if (this.fails) throw new StoreError("no_space", "full");
      written.push(rows);
    },
    rows: (): readonly SavingsRow[] => written.flat(),
  };
}

t.test("which answers spare a round trip, and whose bytes count", (t) => {
  const cases: readonly (readonly [Partial<RequestEvent>, trips: number, bytes: number])[] = [
    [{ result: "hit", source: "memory" }, 1, 1000],
    [{ result: "hit", source: "disk" }, 1, 1000],
    [{ result: "hit", source: "s3" }, 1, 1000],
    [{ result: "joined", source: "upstream:hub" }, 1, 1000],
    [{ result: "negative", source: "none", status: 404 }, 1, 0],
    [{ result: "stale", source: "disk" }, 0, 1000],
    [{ result: "revalidated", source: "disk" }, 0, 1000],
    [{ result: "miss", source: "upstream:hub" }, 0, 1000],
    [{ result: "pass", source: "upstream:hub" }, 0, 1000],
    [{ result: "denied", source: "none", status: 403 }, 0, 0],
    [{ result: "error", source: "none", status: 502 }, 0, 0],
    [{ result: "error", source: "upstream:hub", abortedBy: "upstream" }, 0, 1000],
    [{ result: "aborted", source: "disk", abortedBy: "client" }, 1, 1000],
    [{ result: "aborted", source: "upstream:hub", abortedBy: "client" }, 0, 1000],
    [{ result: "hit", route: "referrers" }, 1, 1000],
  ];
  for (const [changes, trips, bytes] of cases) {
    const { ledger } = start();
    ledger.onEvent(sampleEvent(changes));
    t.match(
      ledger.rows(),
      [{ team: "team", upstream: "hub", requests: 1, roundTripsSaved: trips, sentBytes: bytes }],
      JSON.stringify(changes),
    );
  }
  t.end();
});

t.test("what is no read of an upstream's content does not count", (t) => {
  const { ledger } = start();
  for (const changes of [
    { route: "ping", upstream: undefined, repository: undefined },
    { route: "catalog", repository: undefined },
    { route: "upload", method: "PUT" },
    { method: "DELETE" },
    { ofNode: true },
  ] as const)
    ledger.onEvent(sampleEvent(changes));
  t.strictSame(ledger.rows(), []);
  t.end();
});

t.test("sums come to the store as differences, each once", (t) => {
  const { ledger, fetched } = start();
  const store = memoryStore();
  ledger.keepIn(store);
  ledger.onEvent(sampleEvent());
  fetched(400);
  ledger.flush();
  ledger.flush();
  t.equal(store.written.length, 1, "nothing new is not written");
  t.strictSame(store.written[0], [
    {
      month: "2026-01",
      team: "team",
      upstream: "hub",
      requests: 1,
      roundTripsSaved: 1,
      sentBytes: 1000,
      fetchedBytes: 400,
      pricePerGB: 0.25,
    },
  ]);
  fetched(1);
  t.match(ledger.rows("2026-01"), [{ requests: 1, sentBytes: 1000, fetchedBytes: 401 }]);
  ledger.flush();
  t.match(store.written[1], [{ requests: 0, sentBytes: 0, fetchedBytes: 1 }]);
  t.match(
    [...ledger.accounts()].find(({ team }) => team === "team"),
    { sentBytes: 1000, fetchedBytes: 401 },
  );
  t.end();
});

t.test("a store that fails is told, and gets everything the next time, in its months", (t) => {
  const { ledger, clock, failures, fetched } = start();
  const store = memoryStore();
  store.fails = true;
  ledger.keepIn(store);
  fetched(1);
  ledger.flush();
  t.match(failures, [{ code: "no_space" }]);
  clock.now = Date.parse("2026-02-01T00:00:00Z");
  fetched(10);
  t.equal(ledger.month, "2026-02");
  fetched(100);
  store.fails = false;
  ledger.flush();
  t.match(store.written, [
    [
      { month: "2026-01", fetchedBytes: 1 },
      { month: "2026-02", fetchedBytes: 110 },
    ],
  ]);
  t.end();
});

t.test("a clock that is set back counts for the month it shows", (t) => {
  const { ledger, clock, fetched } = start();
  clock.now = Date.parse("2026-03-01T00:00:00Z");
  fetched(1);
  clock.now = Date.parse("2026-02-28T23:59:59.999Z");
  fetched(2);
  t.match(ledger.rows(), [
    { month: "2026-02", fetchedBytes: 2 },
    { month: "2026-03", fetchedBytes: 1 },
  ]);
  t.end();
});

t.test("other teams and upstreams from now on: what was counted stays, the rest goes on", (t) => {
  const { ledger, fetched } = start();
  fetched(1);
  ledger.use({ teams: [], upstreams: [{ name: "new" }] });
  fetched(10);
  fetched(100, "team/app", "new");
  t.match(ledger.rows(), [
    { team: "other", upstream: "new", fetchedBytes: 100, pricePerGB: undefined },
    { team: "other", upstream: "other", fetchedBytes: 10 },
    { team: "team", upstream: "hub", fetchedBytes: 1, pricePerGB: 0.25 },
  ]);
  t.strictSame(
    [...ledger.accounts()].map(({ team, upstream }) => `${team} ${upstream}`),
    ["other new", "other other"],
  );
  t.end();
});

t.test("what waits for the store is bounded", (t) => {
  const { ledger, fetched } = start();
  const store = memoryStore();
  store.fails = true;
  ledger.keepIn(store);
  for (let reload = 0; reload < 25_000; reload++) {
    ledger.use({ teams: [], upstreams: [{ name: `u${reload}` }] });
    fetched(1, "a", `u${reload}`);
  }
  const rows = ledger.rows();
  t.equal(rows.length, 20_001);
  t.equal(
    rows.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0),
    25_000,
    "and nothing of it is lost",
  );
  t.end();
});

t.test("absurd numbers of a sink's source make no sum absurd", (t) => {
  const { ledger, fetched } = start();
  fetched(Number.NaN);
  fetched(-5);
  ledger.onEvent(sampleEvent({ bytesSent: Number.POSITIVE_INFINITY }));
  t.match(ledger.rows(), [{ sentBytes: 0, fetchedBytes: 0, requests: 1 }]);
  t.end();
});
