// An upstream that stops answering and comes back, over real connections.
import { createRequire } from "node:module";
import t from "tap";
import { Transfer } from "../../src/cache/fill/transfer.ts";
import type { Digest } from "../../src/oci/digest.ts";
import {
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { eventually, gate, ManualPause } from "../fixtures/manual-time.ts";
import { nothingAhead } from "../fixtures/nothing-ahead.ts";
import { type Owner, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000], seed: "outage" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

async function setUp(t: Owner, changes: Parameters<typeof connectUpstream>[2] = {}) {
  const time = new ManualPause();
  time.instant = () => false;
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  const connected = connectUpstream(
    t,
    registry.url,
    { firstByteTimeout: 500, ...changes },
    undefined,
    time.pause,
  );
  const { upstream } = connected;
  const ask = () => upstream.headManifest(repository, tagged("1"));
  /** The next probe begins. */
  const probe = () => time.elapse();
  const is = (state: string) => eventually(state, () => upstream.circuit.state === state);
  return { registry, time, ask, probe, is, ...connected };
}

t.test(
  "a hung upstream is asked twice, then by one probe at a time, then by every request again",
  async (t) => {
    const { registry, upstream, ask, probe, is, of } = await setUp(t);
    const heal = registry.fault(() => ({ hang: true }));
    for (let failure = 0; failure < 2; failure++) t.match(await upstreamError(ask()), { code: "timeout" });
    t.equal(upstream.circuit.state, "open");
    for (let round = 0; round < 50; round++)
      t.match(await upstreamError(ask()), { code: "circuit_open", retryAfter: 2 });
    t.match(await upstreamError(upstream.openBlob(repository, layer.digest, 0, never)), {
      code: "circuit_open",
    });
    t.equal(registry.count(), 2);
    probe();
    await registry.until(() => registry.count() === 3);
    t.equal((await upstreamError(ask())).code, "circuit_open", "no request waits for the probe");
    heal();
    probe();
    await is("closed");
    t.match(await ask(), { kind: "found" }, "the first request after it goes upstream");
    t.equal(registry.count(), 5);
    t.same(
      of("circuit").map(({ state }) => state),
      ["open", "half_open", "open", "half_open", "closed"],
    );
    await idle(upstream);
  },
);

t.test("a probe carries no credentials, keeps to the base path and takes 401 for an answer", async (t) => {
  const { registry, upstream, ask, probe, is } = await setUp(t);
  await registry.stop();
  for (let failure = 0; failure < 3; failure++) t.match(await upstreamError(ask()), { code: "unreachable" });
  probe();
  await is("half_open");
  await is("open");
  await registry.start();
  registry.addImage(repository, "1", image);
  probe();
  await is("closed");
  const [asked] = registry.requests;
  t.match(asked, { method: "GET", path: `${registry.url.pathname}/v2/`, kind: "ping", status: 401 });
  t.equal(asked?.headers.authorization, undefined);
  t.match(asked?.headers.via, /^1\.1 entrepot-/);
  await registry.until(() => registry.openSockets === 0);
  t.match(await ask(), { kind: "found" });
  await idle(upstream);
});

t.test("a probe answered with 5xx is none", async (t) => {
  const { registry, ask, probe, is } = await setUp(t);
  await registry.stop();
  for (let failure = 0; failure < 3; failure++) await upstreamError(ask());
  await registry.start();
  registry.fault(() => ({ status: 503 }));
  probe();
  await registry.until(() => registry.count({ status: 503 }) === 1);
  await is("open");
});

t.test(
  "when every connection hangs, those that wait for one are let go and the probe needs none",
  async (t) => {
    const { registry, upstream, probe, is } = await setUp(t, { maxConnections: 2 });
    const heal = registry.fault(() => ({ hang: true }));
    const asked = Array.from({ length: 20 }, (_, at) =>
      upstreamError(upstream.headManifest(repository, tagged(`${at}`))),
    );
    const codes = (await Promise.all(asked)).map(({ code }) => code);
    t.same(codes.slice(0, 2), ["timeout", "timeout"]);
    // For a connection they wait no longer than for an answer.
    t.ok(codes.slice(2).every((code) => code === "circuit_open" || code === "timeout"));
    t.ok(registry.count() <= 4, `${registry.count()} requests`);
    const abort = new AbortController();
    t.equal(upstream.circuit.state, "open");
    heal();
    probe();
    await is("closed");
    abort.abort();
    await idle(upstream);
  },
);

t.test("a transfer under way does not notice", async (t) => {
  const { registry, upstream, ask } = await setUp(t);
  const more = gate();
  registry.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 100_000, releaseOn: more.opened } : { hang: true },
  );
  const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
  const received = drain(body);
  for (let failure = 0; failure < 2; failure++) await upstreamError(ask());
  t.equal(upstream.circuit.state, "open");
  more.open();
  t.ok((await received).bytes.equals(layer.bytes));
});

t.test("a transfer that breaks waits through the outage and goes on where it was", async (t) => {
  const { registry, upstream, probe, is } = await setUp(t);
  const remove = registry.fault(({ headers }) =>
    headers.range === undefined ? { cutAfter: 200_000 } : { reset: true },
  );
  const pauses: number[] = [];
  const chunks: Buffer[] = [];
  const transfer = new Transfer({
    open: (from, signal) => upstream.openBlob(repository, layer.digest, from, signal),
    followed: () => true,
    begin: async () => {},
    take: async (chunk) => {
      chunks.push(chunk);
    },
    pieces: nothingAhead,
    clock: () => 0,
    pause: async (milliseconds) => {
      pauses.push(milliseconds);
      if (milliseconds < 2_000) return;
      // The outage is over when it has waited for the third time.
      if (pauses.length < 7) return;
      remove();
      probe();
      await is("closed");
    },
    signal: never,
  });
  t.equal(await transfer.run(), undefined);
  t.ok(Buffer.concat(chunks).equals(layer.bytes), "no byte is missing or came twice");
  t.same(pauses, [100, 200, 400, 800, 2_000, 2_000, 2_000]);
  t.equal(registry.count({ kind: "blob" }), 5, "nothing was sent while it waited");
  await idle(upstream);
});

t.test("what says nothing about upstream's health is not held against it", async (t) => {
  const storage = await startUpstream(t, { anonymous: true });
  const location = `${storage.url.href}/object`;
  const { registry, upstream, ask } = await setUp(t, { redirectsTo: ["127.0.0.1"] });
  for (const fault of [{ status: 401 }, { status: 403 }, { status: 404 }, { html: true }]) {
    const remove = registry.fault(() => fault);
    for (let round = 0; round < 5; round++) await ask().catch(() => {});
    remove();
  }
  registry.fault(({ kind }) => (kind === "blob" ? { status: 307, headers: { location } } : undefined));
  await storage.stop();
  for (let round = 0; round < 5; round++) {
    const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
    t.equal(error.code, "unreachable", "a storage behind a redirect");
  }
  const left = new AbortController();
  registry.fault(() => ({ hang: true }));
  for (let round = 0; round < 5; round++) {
    const gone = upstream.openBlob(repository, layer.digest, 0, left.signal);
    left.abort();
    await t.rejects(gone, { name: "AbortError" });
  }
  t.equal(upstream.circuit.state, "closed");
});

/** undici's own clock for time-outs above a second. */
const timers = createRequire(import.meta.url)("undici/lib/util/timers.js") as { tick(ms?: number): void };

t.test("a manifest is waited for as long as a layer or a list: the configured time", async (t) => {
  const { registry, upstream, ask } = await setUp(t, { firstByteTimeout: 120_000 });
  const held = gate();
  registry.fault(() => ({ holdUntil: held.opened }));
  const all = async () => {
    const asked = [
      ask(),
      upstream.getManifest(repository, tagged("1")),
      upstream.headBlob(repository, layer.digest),
      upstream.listTags(repository, 10, undefined),
    ];
    await registry.until(() => registry.count({ finished: false }) === asked.length);
    timers.tick();
    return asked;
  };
  const patient = await all();
  timers.tick(95_000);
  held.open();
  for (const answer of await Promise.all(patient)) t.equal(answer.kind, "found");
  registry.fault(() => ({ hang: true }));
  const late = await all();
  timers.tick(122_000);
  for (const error of await Promise.all(late.map(upstreamError))) t.equal(error.code, "timeout");
});
