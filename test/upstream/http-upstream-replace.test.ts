// An upstream whose configuration changes while it is asked.
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import type { Notice } from "../../src/ports/event.ts";
import { createUpstream } from "../../src/upstream/http-upstream.ts";
import {
  basicAuth,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamConfig,
  upstreamError,
} from "../fixtures/connected-upstream.ts";
import { ManualPause } from "../fixtures/manual-time.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../fixtures/token-server.ts";
import { image, layer } from "../fixtures/token-upstream.ts";

const never = new AbortController().signal;

async function startRegistry(t: Test, options: Parameters<typeof startUpstream>[1] = {}) {
  const registry = await startUpstream(t, options);
  registry.addImage(repository, "1", image);
  return registry;
}

function connect(t: Test, registry: ScriptedUpstream, changes: Partial<UpstreamConfig> = {}) {
  const notices: Notice[] = [];
  const pause = new ManualPause();
  pause.instant = () => false;
  const make = (changed: Partial<UpstreamConfig>, to = registry) =>
    createUpstream(upstreamConfig(to.url, { ...changes, ...changed }), {
      notices: (notice) => notices.push(notice),
      pause: pause.pause,
    });
  const upstream = make({});
  t.teardown(() => upstream.close());
  const head = () => upstream.headManifest(repository, tagged("1"));
  const circuit = () => notices.flatMap((notice) => (notice.kind === "circuit" ? [notice.state] : []));
  return { upstream, make, head, pause, circuit };
}

t.test("what is under way ends where it began, whatever is asked next goes the new way", async (t) => {
  const [before, after] = [await startRegistry(t), await startRegistry(t)];
  const { upstream, make, head } = connect(t, before);
  const gate = Promise.withResolvers<void>();
  before.fault(({ kind }) => (kind === "blob" ? { stallAfter: 1_000, releaseOn: gate.promise } : undefined));
  const held = upstream.forwarding("1.1 client");
  const opened = found(await upstream.openBlob(repository, layer.digest, 0, never));
  upstream.replace(make({}, after));
  t.equal((await head()).kind, "found");
  t.equal((await held.headManifest(repository, tagged("1"))).kind, "found", "also for who holds it");
  t.same([before.count({ kind: "manifest" }), after.count({ kind: "manifest" })], [0, 2]);
  t.equal(before.openSockets, 1, "its transfer runs");
  await idle(upstream);
  gate.resolve();
  t.ok((await drain(opened.body)).bytes.equals(layer.bytes));
  await before.until(() => before.openSockets === 0);
  t.equal(before.count(), 1);
});

t.test("connections nobody uses are closed at once", async (t) => {
  const [before, after] = [await startRegistry(t), await startRegistry(t)];
  const { upstream, make, head } = connect(t, before);
  await head();
  t.equal(before.openSockets, 1);
  upstream.replace(make({}, after));
  await before.until(() => before.openSockets === 0);
});

t.test("closing ends what is still under way at the one before, too", async (t) => {
  const [before, after] = [await startRegistry(t), await startRegistry(t)];
  const { upstream, make } = connect(t, before);
  before.fault(({ kind }) => (kind === "blob" ? { stallAfter: 1_000 } : undefined));
  const opened = found(await upstream.openBlob(repository, layer.digest, 0, never));
  upstream.replace(make({}, after));
  const read = drain(opened.body);
  await upstream.close();
  await before.until(() => before.openSockets === 0);
  t.ok((await read).error);
});

t.test("tokens are kept as long as the account and the registry are the same", async (t) => {
  const tokens = await startTokenServer(t);
  const registry = await startRegistry(t, { bearer: tokens });
  const { upstream, make, head } = connect(t, registry, { tokenRealms: [tokens.realm.host] });
  const asked = () => tokens.requests.filter(({ fields }) => fields.has("scope")).length;
  await head();
  t.equal(asked(), 1);
  registry.forget();
  upstream.replace(make({ segments: 2, maxConnections: 3, firstByteTimeout: 50_000 }));
  await head();
  t.equal(asked(), 1, "the token is still good");
  t.equal(registry.count(), 1, "and was sent at once");
  upstream.replace(make({ auth: basicAuth("other", "another") }));
  await head().catch(() => {});
  t.equal(asked(), 2, "another account has tokens of its own");
  upstream.replace(make({ tokenRealms: [tokens.realm.host, "tokens.example.com"] }));
  await head();
  t.equal(asked(), 3, "what was learned under other rules does not count");
});

t.test("one that did not answer is asked by a probe first", async (t) => {
  const registry = await startRegistry(t);
  const { upstream, make, head, pause, circuit } = connect(t, registry);
  await head();
  await registry.stop();
  for (let failure = 0; failure < 3; failure++) await upstreamError(head());
  t.same(circuit(), ["open"]);
  await registry.start();
  registry.forget();
  upstream.replace(make({ segments: 2 }));
  t.equal(upstream.circuit.state, "open");
  t.equal((await upstreamError(head())).code, "circuit_open");
  pause.elapse();
  await registry.until(() => registry.count() === 1);
  while (upstream.circuit.state !== "closed") await new Promise((resolve) => setImmediate(resolve));
  t.equal((await head()).kind, "found");
  t.same(circuit(), ["open", "open", "half_open", "closed"]);
});

t.test("a failure of the one before does not count against the new one", async (t) => {
  const [before, after] = [await startRegistry(t), await startRegistry(t)];
  const { upstream, make, head, circuit } = connect(t, before);
  const gate = Promise.withResolvers<void>();
  before.fault(() => ({ holdUntil: gate.promise, reset: true }));
  const asked = [1, 2, 3, 4].map(() => upstreamError(head()));
  await before.until(() => before.count() === 4);
  upstream.replace(make({}, after));
  gate.resolve();
  for (const error of await Promise.all(asked)) t.equal(error.code, "unreachable");
  t.same(circuit(), []);
  t.equal((await head()).kind, "found");
});
