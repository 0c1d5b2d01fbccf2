import t from "tap";
import { datacenterSavings, nodeSavings, savingsCsv } from "../../src/telemetry/savings/report.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { startJsonServer } from "../fixtures/json-server.ts";
import { upstreamUrl } from "../fixtures/loading.ts";
import { sampleDatacenterSavings, sampleSavings } from "../fixtures/stats-samples.ts";

const document = sampleDatacenterSavings();

t.test("a table of this month, teams that save most first", async (t) => {
  const { asked, url } = await startJsonServer(t, () => ({ json: document }));
  const line = commandLine(["savings", "--ops", url.host]);
  t.equal(await line.exit, 0);
  t.strictSame(
    asked.map(({ path }) => path),
    ["/api/v1/savings"],
  );
  t.equal(
    line.out(),
    [
      "2026-11 (UTC)",
      "team      requests  round trips saved     sent  fetched     saved  money saved",
      "payments        10                  8  5.00 GB  1.00 GB   4.00 GB     1.00 EUR",
      "other            2                  0  1.00 MB  3.00 MB  −2.00 MB    -0.00 EUR",
      "all             12                  8  5.00 GB  1.00 GB   4.00 GB     1.00 EUR",
      "",
    ].join("\n"),
  );
  t.equal(line.err(), "");
});

t.test("a month that is asked for; as CSV, as JSON; where the settings say", async (t) => {
  const { asked, url } = await startJsonServer(t, () => ({ json: document }));
  const env = { ...upstreamUrl, ENTREPOT_OPS_LISTEN: url.host };
  const csv = commandLine(["savings", "--month", "all", "--csv"], { env });
  t.equal(await csv.exit, 0);
  t.equal(csv.out(), savingsCsv(document));
  const json = commandLine(["savings", "--month", "2026-10", "--json"], { env });
  t.equal(await json.exit, 0);
  t.strictSame(JSON.parse(json.out()), document);
  t.strictSame(
    asked.map(({ path }) => path),
    ["/api/v1/savings?month=all", "/api/v1/savings?month=2026-10"],
  );
});

t.test("without prices there is no money, without requests no table", async (t) => {
  const free = sampleSavings.slice(0, 1).map((row) => ({ ...row, pricePerGB: undefined }));
  const { url } = await startJsonServer(t, ({ path }) => ({
    json: datacenterSavings(
      "2026-11",
      1000,
      [{ name: "node-1", savings: nodeSavings(path.includes("month") ? [] : free, undefined) }],
      [],
    ),
  }));
  const line = commandLine(["savings", "--ops", url.host]);
  t.equal(await line.exit, 0);
  t.equal(
    line.out(),
    [
      "2026-11 (UTC)",
      "team      requests  round trips saved     sent  fetched    saved",
      "payments        10                  8  5.00 GB  1.00 GB  4.00 GB",
      "",
    ].join("\n"),
  );
  const none = commandLine(["savings", "--ops", url.host, "--month", "2026-11"]);
  t.equal(await none.exit, 0);
  t.equal(none.out(), "nothing was asked for in 2026-11\n");
});

t.test("a node that has not told is named, and the exit code says so", async (t) => {
  const partly = sampleDatacenterSavings("2026-11", ["b", "c"]);
  const { url } = await startJsonServer(t, () => ({ json: partly }));
  for (const flags of [[], ["--csv"], ["--json"]]) {
    const line = commandLine(["savings", "--ops", url.host, ...flags]);
    t.equal(await line.exit, 1);
    t.match(line.out(), /payments/, "the rest is told");
    t.equal(line.err(), "entrepot: without b, c: no answer from there\n");
  }
});

t.test("what is wrong is said, with the exit code", async (t) => {
  const { url } = await startJsonServer(t, () => ({ status: 500 }));
  const failed = commandLine(["savings", "--ops", url.host]);
  t.equal(await failed.exit, 2, "that nobody answers is not that a node has not told");
  t.match(failed.err(), /no mirror answers at .*status 500/);
  for (const wrong of [
    ["--month", "november"],
    ["--csv", "--json"],
  ]) {
    const line = commandLine(["savings", "--ops", url.host, ...wrong]);
    t.equal(await line.exit, 2, wrong.join(" "));
    t.not(line.err(), "");
  }
});
