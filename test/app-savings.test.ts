// The whole mirror: what the ledger says of teams is what clients were sent and upstream has sent, to the byte.
import t, { type Test } from "tap";
import { plainUpstream } from "../src/config/config.ts";
import type { Notice, RequestEvent } from "../src/ports/event.ts";
import type { RowSavings, SavingsDocument } from "../src/telemetry/savings/savings-document.ts";
import { login, namedAccess, rule } from "./fixtures/access.ts";
import { makeImage } from "./fixtures/images.ts";
import { ask, type Mirror, type MirrorOptions, mirrorConfig, startMirror } from "./fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "./fixtures/scripted-upstream.ts";

const layer = 300_000;
const first = makeImage({ layers: [layer, 200_000], seed: "first" });
const second = makeImage({ layers: [150_000], seed: "second" });

const team = (name: string, repositories: string[], callers: string[] = []) => ({
  name,
  repositories,
  callers,
});

/** A mirror, and everything it has told its sinks. */
async function start(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t, { anonymous: true });
  const events: RequestEvent[] = [];
  const notices: Notice[] = [];
  const told = new Set<() => void>();
  const tell = (): void => {
    for (const look of told) look();
  };
  const sink = {
    name: "test",
    onEvent(event: RequestEvent) {
      events.push(event);
      tell();
    },
    onNotice(notice: Notice) {
      notices.push(notice);
      tell();
    },
  };
  const mirrored = { url: upstream.url, username: "", password: "" };
  const mirror = await startMirror(t, mirrored, { ...options, sinks: [sink] });
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise<void>((resolve) => told.add(resolve));
  };
  /** So many requests are over, and so many downloads of blobs. */
  const over = (requests: number, fills: number) =>
    until(() => events.length === requests && notices.filter(({ kind }) => kind === "fill").length === fills);
  return { upstream, mirror, events, over };
}

async function savings({ ops }: Mirror, query = ""): Promise<SavingsDocument> {
  const { status, body } = await ask(ops, "GET", `/api/v1/savings${query}`);
  t.equal(status, 200, body.toString());
  return JSON.parse(body.toString()) as SavingsDocument;
}

const bytesOf = (events: readonly RequestEvent[]): number =>
  events.reduce((sum, { bytesSent, status }) => sum + (status < 400 ? bytesSent : 0), 0);

function sums(rows: readonly RowSavings[]) {
  return Object.fromEntries(
    rows.map(({ team, requests, roundTripsSaved, sentBytes, fetchedBytes, savedBytes }) => [
      team,
      { requests, roundTripsSaved, sentBytes, fetchedBytes, savedBytes },
    ]),
  );
}

const sent = (upstream: ScriptedUpstream, repository: string): number =>
  upstream.requests.reduce(
    (sum, { bytes, repository: of, status }) => sum + (of === repository && status < 300 ? bytes : 0),
    0,
  );

t.test("misses, hits, joins, ranges, HEAD, confirmed tags and refusals: not a byte is missing", async (t) => {
  let now = Date.parse("2026-11-30T12:00:00Z");
  const { upstream, mirror, events, over } = await start(t, {
    clock: () => now,
    tags: { ttl: 60_000, refreshAhead: 0 },
    teams: [team("payments", ["payments/**"]), team("search", ["search/**"])],
    upstream: { pricePerGB: 0.5 },
    currency: "EUR",
  });
  upstream.addImage("payments/app", "1", first);
  upstream.addImage("search/app", "1", second);
  upstream.addImage("free", "1", second);
  const [big, small] = first.layers;
  const paths = {
    tag: "/v2/payments/app/manifests/1",
    manifest: `/v2/payments/app/manifests/${first.digest}`,
    big: `/v2/payments/app/blobs/${big?.digest}`,
    small: `/v2/payments/app/blobs/${small?.digest}`,
  };
  // Misses, and hits of all kinds of parts.
  await mirror.get(paths.tag);
  await mirror.get(paths.tag);
  await mirror.get(paths.manifest);
  await mirror.get(paths.small);
  await mirror.get(paths.small, { range: "bytes=1000-1999" });
  await mirror.get(paths.small, { range: "bytes=0-9,50-59" });
  await mirror.get(paths.small, { "if-none-match": `"${small?.digest}"` });
  await mirror.ask("HEAD", paths.small);
  await mirror.ask("HEAD", paths.tag);
  await over(9, 1);
  // Three clients of one download.
  const gate = Promise.withResolvers<void>();
  const open = upstream.fault(({ kind, method }) =>
    kind === "blob" && method === "GET" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
  );
  const clients = [mirror.get(paths.big)];
  await upstream.until(() => upstream.count({ reference: big?.digest ?? "" }) === 1);
  clients.push(mirror.get(paths.big), mirror.get(paths.big, { range: "bytes=10-19" }));
  gate.resolve();
  t.strictSame(
    (await Promise.all(clients)).map(({ body }) => body.length),
    [layer, layer, 10],
  );
  open();
  await over(12, 2);
  // A tag that has expired is confirmed by HEAD; and what is not there.
  now += 61_000;
  await mirror.get(paths.tag);
  await mirror.get("/v2/payments/app/manifests/none");
  await mirror.get("/v2/payments/app/manifests/none");
  await mirror.get("/v2/payments/app/tags/list");
  await mirror.get("/v2/");
  // Another team, and nobody's.
  await mirror.get("/v2/search/app/manifests/1");
  await mirror.get(`/v2/search/app/blobs/${second.layers[0]?.digest}`);
  await mirror.get("/v2/free/manifests/1");
  await mirror.get(`/v2/free/blobs/${second.layers[0]?.digest}`);
  await over(21, 3);

  const { rows, total, month, currency } = await savings(mirror);
  t.equal(month, "2026-11");
  t.equal(currency, "EUR");
  const of = (repository: string) => events.filter((event) => event.repository === repository);
  const found = sums(rows);
  for (const [name, repository, requests] of [
    ["payments", "payments/app", 16],
    ["search", "search/app", 2],
    ["other", "free", 2],
  ] as const) {
    const [out, came] = [bytesOf(of(repository)), sent(upstream, repository)];
    t.match(
      found[name],
      { requests, sentBytes: out, fetchedBytes: came, savedBytes: out - came },
      `${name}: ${out} sent, ${came} fetched`,
    );
    t.ok(out > 0);
  }
  // Hits: a tag, a digest, three parts of a layer and its HEAD, HEAD of the tag. Then two that joined, and one known absence.
  t.equal(found.payments?.roundTripsSaved, 10);
  t.equal(total.sentBytes, bytesOf(events.filter(({ route }) => route !== "ping")));
  t.equal(
    total.fetchedBytes,
    ["payments/app", "search/app", "free"].reduce((sum, repository) => sum + sent(upstream, repository), 0),
  );
  t.equal(total.moneySaved, Math.round((total.savedBytes / 1e9) * 0.5 * 1e6) / 1e6);
});

t.test("a download counts for the caller it was begun for, its followers' bytes for theirs", async (t) => {
  const { upstream, mirror, over } = await start(t, {
    access: namedAccess({ "ci-1": "a", ann: "b" }, [rule({ users: ["ci-1", "ann"], repositories: ["**"] })]),
    teams: [team("builds", [], ["ci-*"]), team("people", [], ["**"])],
  });
  upstream.addImage("app", "1", first);
  const path = `/v2/app/blobs/${first.layers[0]?.digest}`;
  await mirror.get("/v2/app/manifests/1", login("ci-1", "a"));
  await mirror.get(path, login("ci-1", "a"));
  await over(2, 1);
  await mirror.get(path, login("ann", "b"));
  await over(3, 1);
  const { rows } = await savings(mirror);
  t.match(sums(rows), {
    builds: { requests: 2, fetchedBytes: layer + first.manifest.length, savedBytes: 0 },
    people: { requests: 1, fetchedBytes: 0, savedBytes: layer, roundTripsSaved: 1 },
  });
});

t.test(
  "a client that leaves has what it was sent; what came for nobody was spent all the same",
  async (t) => {
    const { upstream, mirror, events, over } = await start(t);
    const gate = Promise.withResolvers<void>();
    upstream.addImage("app", "1", first);
    const digest = first.layers[0]?.digest ?? "";
    await mirror.get("/v2/app/manifests/1");
    upstream.fault(({ kind }) =>
      kind === "blob" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
    );
    const client = new AbortController();
    const left = fetch(new URL(`/v2/app/blobs/${digest}`, mirror.url), { signal: client.signal });
    const { body } = await left;
    await body?.getReader().read();
    client.abort();
    gate.resolve();
    await over(2, 1);
    const { total } = await savings(mirror);
    const out = bytesOf(events);
    const came = sent(upstream, "app");
    t.equal(came, layer + first.manifest.length);
    t.match(total, { sentBytes: out, fetchedBytes: came, savedBytes: out - came });
    t.ok(total.savedBytes < 0, "more was fetched than anybody has had");
  },
);

t.test("what another node is sent is no saving: it is counted where its client is", async (t) => {
  const { upstream, mirror, over } = await start(t);
  upstream.addImage("app", "1", first);
  await mirror.get("/v2/app/manifests/1");
  const path = `/v2/app/blobs/${first.layers[0]?.digest}`;
  await mirror.get(path);
  await over(2, 1);
  const before = await savings(mirror);
  await mirror.get(path, { "entrepot-node": "http://10.0.0.7:5000" });
  await over(3, 1);
  t.strictSame((await savings(mirror)).total, before.total);
});

t.test("months, as they end; all of it is there after a restart; CSV", async (t) => {
  let now = Date.parse("2026-11-30T23:59:59Z");
  const { upstream, mirror, over } = await start(t, { clock: () => now, upstream: { pricePerGB: 2 } });
  upstream.addImage("app", "1", first);
  await mirror.get("/v2/app/manifests/1");
  await over(1, 0);
  now += 2_000;
  await mirror.get(`/v2/app/manifests/${first.digest}`);
  await over(2, 0);
  const size = first.manifest.length;
  t.match(await savings(mirror), {
    month: "2026-12",
    total: { requests: 1, sentBytes: size, fetchedBytes: 0 },
  });
  t.match(await savings(mirror, "?month=2026-11"), { total: { sentBytes: size, fetchedBytes: size } });
  const all = await savings(mirror, "?month=all");
  t.strictSame(
    all.rows.map(({ month, savedBytes }) => [month, savedBytes]),
    [
      ["2026-11", 0],
      ["2026-12", size],
    ],
  );
  await mirror.app.stop();
  const again = await startMirror(
    t,
    { url: upstream.url, username: "", password: "" },
    { clock: () => now, cache: { dir: mirror.directory } },
  );
  t.strictSame(await savings(again, "?month=all"), all, "with the price it had");
  const csv = (await ask(again.ops, "GET", "/savings.csv?month=2026-11")).body.toString();
  t.equal(
    csv,
    `month,team,upstream,requests,round_trips_saved,sent_bytes,fetched_bytes,saved_bytes,price_per_gb,money_saved,currency\r\n2026-11,other,upstream,1,0,${size},${size},0,2,0,\r\n`,
  );
  for (const month of ["2026-13", "", "2026-1", "ALL", "2026-11-01"])
    t.equal((await ask(again.ops, "GET", `/api/v1/savings?month=${month}`)).status, 400, month);
});

t.test("other teams and prices count from a reload on, and no upstream is asked anew for them", async (t) => {
  const { upstream, mirror, over } = await start(t);
  upstream.addImage("app", "1", first);
  await mirror.get("/v2/app/manifests/1");
  await over(1, 0);
  const options = { teams: [team("payments", ["app"])], upstream: { pricePerGB: 1000 }, currency: "EUR" };
  const mirrored = { url: upstream.url, username: "", password: "" };
  const config = mirrorConfig(mirrored, mirror.directory, options);
  const key = "pricePerGB";
  const applied = [{ key: `upstream.${key}`, upstream: { name: "upstream", key }, text: "changed" }];
  t.ok(mirror.app.reload({ ok: true, config, warnings: [], changes: { applied, needRestart: [] } }));
  await mirror.get("/v2/app/manifests/1");
  await over(2, 0);
  const size = first.manifest.length;
  t.equal(upstream.connections, 1);
  t.match(await savings(mirror), {
    currency: "EUR",
    rows: [
      { team: "other", sentBytes: size, fetchedBytes: size, moneySaved: null },
      { team: "payments", sentBytes: size, fetchedBytes: 0, moneySaved: Math.round(size) / 1e6 },
    ],
  });
});

t.test("counted for Prometheus as in the ledger, on the page by team, and in no other name", async (t) => {
  const { upstream, mirror, over } = await start(t, {
    teams: [team("payments", ["payments/**"])],
    more: [plainUpstream("hub", new URL("https://registry.example.com"))],
  });
  upstream.addImage("payments/app", "1", first);
  await mirror.get("/v2/payments/app/manifests/1");
  await mirror.get("/v2/payments/app/manifests/1");
  await over(2, 0);
  const size = first.manifest.length;
  const metrics = (await ask(mirror.ops, "GET", "/metrics")).body.toString();
  const series = metrics.split("\n").filter((line) => line.startsWith("entrepot_team_"));
  t.equal(series.length, 4 * 2 * 3, "two teams, two upstreams and the other one");
  const of = 'team="payments",upstream="upstream"';
  for (const line of [
    `entrepot_team_requests_total{${of}} 2`,
    `entrepot_team_saved_round_trips_total{${of}} 1`,
    `entrepot_team_sent_bytes_total{${of}} ${2 * size}`,
    `entrepot_team_fetched_bytes_total{${of}} ${size}`,
    `entrepot_team_sent_bytes_total{team="other",upstream="hub"} 0`,
  ])
    t.ok(series.includes(line), line);
  const page = (await ask(mirror.ops, "GET", "/")).body.toString();
  t.match(page, /<h2 id="savings-title">Saved in \d{4}-\d\d \(UTC\)<\/h2>/);
  t.match(page, /<td>payments<\/td><td class="number">2<\/td><td class="number">1<\/td>/);
  t.notMatch(page, /Money saved/, "no price is known");
});
