// Mirrors of several datacenters in front of one far registry: what one holds the others read from it, whoever asks whom, and
// nobody asks in a circle.
import t, { type Test } from "tap";
import type { StatsDocument } from "../src/ops/stats/stats-document.ts";
import { login, namedAccess, rule } from "./fixtures/access.ts";
import { basicAuth } from "./fixtures/connected-upstream.ts";
import { parseExposition } from "./fixtures/exposition.ts";
import { makeImage } from "./fixtures/images.ts";
import { type Mirror, type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "./fixtures/scripted-upstream.ts";
import { siblingAt } from "./fixtures/siblings.ts";
import { freePort } from "./system/fixtures/free-port.ts";
import { until } from "./system/fixtures/until.ts";

const image = makeImage({ layers: [300_000, 90_000, 2_000] });
const parts = [image.config, ...image.layers];
const app = "team/app";

/** Mirrors in so many datacenters, each of which asks all others. */
async function datacenters(t: Test, count: number, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage(app, "1.0", image);
  const ports: number[] = [];
  for (let i = 0; i < count; i++) ports.push(await freePort());
  const mirrors: Mirror[] = [];
  for (const [at, port] of ports.entries()) {
    const siblings = ports.flatMap((other, i) =>
      i === at ? [] : [siblingAt(`dc${i}`, new URL(`http://127.0.0.1:${other}`))],
    );
    mirrors.push(await startMirror(t, upstream, { port, siblings, node: nodeOf(`dc${at}`), ...options }));
  }
  return { upstream, mirrors: mirrors as [Mirror, Mirror, ...Mirror[]] };
}

function nodeOf(name: string) {
  return { name, address: undefined };
}

async function pull(t: Test, mirror: Mirror, headers: Record<string, string> = {}) {
  const manifest = await mirror.get(`/v2/${app}/manifests/1.0`, headers);
  t.ok(manifest.body.equals(image.manifest), "the manifest is right");
  const answers = await Promise.all(
    parts.map(({ digest }) => mirror.get(`/v2/${app}/blobs/${digest}`, headers)),
  );
  for (const [at, { body, status }] of answers.entries()) {
    t.equal(status, 200);
    t.ok(body.equals((parts[at] as { bytes: Buffer }).bytes), "the bytes are right");
  }
  return answers;
}

async function stored(mirror: Mirror, count: number): Promise<void> {
  const seen = () => mirror.lines.filter(({ msg }) => msg === "fill committed").length;
  await until(`${count} blobs are stored`, () => seen() >= count);
}

/** What the mirror's siblings asked of it, by the log of its requests. */
function fromSiblings(mirror: Mirror) {
  return mirror.lines.filter(({ path }) => String(path).startsWith("/upstream/v2/"));
}

async function stats({ ops }: Mirror): Promise<StatsDocument> {
  return (await (await fetch(new URL("/stats.json", ops))).json()) as StatsDocument;
}

/** Its one download has so many bytes. */
async function received(mirror: Mirror, bytes: number): Promise<void> {
  const isThere = async () => ((await stats(mirror)).fills[0]?.receivedBytes ?? 0) >= bytes;
  await until(`${bytes} bytes of a download are there`, isThere);
}

function blobsAsked(upstream: ScriptedUpstream, method: "GET" | "HEAD"): number {
  return upstream.count({ kind: "blob", method });
}

t.test("what one datacenter holds another reads there, and upstream only says who may", async (t) => {
  const { upstream, mirrors } = await datacenters(t, 2);
  const [a, b] = mirrors;
  await pull(t, a);
  await stored(a, parts.length);
  t.equal(blobsAsked(upstream, "GET"), parts.length);
  const before = upstream.bytesSent;
  upstream.forget();
  const answers = await pull(t, b);
  t.equal(blobsAsked(upstream, "GET"), 0, "no blob comes the long way again");
  t.equal(blobsAsked(upstream, "HEAD"), parts.length, "upstream has said of each that the repository has it");
  t.equal(upstream.count({ kind: "manifest", method: "GET" }), 1, "a tag is upstream's alone");
  t.ok(upstream.bytesSent < image.manifest.length * 2, "and it sent no more than the manifest");
  t.ok(before > 0);
  await stored(b, parts.length);
  // The other one asks this one for what it holds, too, while none does.
  const requests = b.lines.filter(
    ({ route, path }) => route === "blob" && !String(path).startsWith("/upstream/"),
  );
  t.same(
    new Set(requests.map(({ result, source }) => `${result} ${source}`)),
    new Set(["miss sibling:dc0"]),
    "the log says where it came from",
  );
  t.match(answers[0]?.headers["cache-status"], /entrepot; fwd=uri-miss$/);
  const document = await stats(b);
  t.match(document.siblings, [{ name: "dc0", state: "asked", results: { hit: parts.length, failed: 0 } }]);
  const why = await fetch(new URL(`/api/v1/why?reference=${app}:1.0`, b.ops));
  t.match(await why.json(), { pull: { siblings: ["dc0"] } });
  const metrics = parseExposition(await (await fetch(new URL("/metrics", b.ops))).text());
  const value = (name: string, labels: Record<string, string>) =>
    metrics
      .get(name)
      ?.samples.filter((sample) => Object.entries(labels).every(([key, text]) => sample.labels[key] === text))
      .reduce((sum, sample) => sum + sample.value, 0);
  t.equal(value("entrepot_sibling_requests_total", { sibling: "dc0", result: "hit" }), parts.length);
  const bytes = parts.reduce((sum, part) => sum + part.bytes.length, 0);
  t.equal(value("entrepot_sibling_received_bytes_total", { sibling: "dc0" }), bytes);
  t.equal(value("entrepot_response_bytes_total", { route: "blob", source: "sibling" }), bytes);
  t.equal(value("entrepot_upstream_received_bytes_total", { type: "blob" }), 0);
});

for (const count of [2, 3])
  t.test(
    `${count} mirrors that ask each other for what none holds ask upstream once each, in no circle`,
    async (t) => {
      const { upstream, mirrors } = await datacenters(t, count);
      // None holds it while the others ask: upstream's answers wait until all have asked.
      const gate = Promise.withResolvers<void>();
      upstream.fault(({ kind, method }) =>
        kind === "blob" && method === "GET" ? { holdUntil: gate.promise } : undefined,
      );
      const pulls = Promise.all(mirrors.map((mirror) => pull(t, mirror)));
      await upstream.until(() => blobsAsked(upstream, "GET") === count * parts.length);
      gate.resolve();
      await pulls;
      t.equal(blobsAsked(upstream, "GET"), count * parts.length, "each fetched each part once");
      for (const mirror of mirrors) {
        await stored(mirror, parts.length);
        const asked = fromSiblings(mirror);
        t.equal(asked.length, (count - 1) * parts.length, "each was asked once by each other, for each part");
        t.same(new Set(asked.map(({ status }) => status)), new Set([504]));
        t.notOk(
          mirror.lines.some(({ status }) => status === 508),
          "and no request came back to where it had been",
        );
        const { siblings } = await stats(mirror);
        t.ok(siblings.every(({ results, state }) => results.miss === parts.length && state === "asked"));
      }
    },
  );

t.test("a sibling asks for an account, and what it lets that read decides there", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage(app, "1.0", image);
  const access = namedAccess({ "mirror-b": "secret", alice: "secret" }, [
    rule({ users: ["mirror-b"], repositories: ["team/**"] }),
  ]);
  const a = await startMirror(t, upstream, { access });
  const { authorization } = login("mirror-b", "secret");
  await pull(t, a, { authorization });
  await stored(a, parts.length);
  const asked = async (user: string) => {
    const auth = basicAuth(user, "secret");
    const b = await startMirror(t, upstream, { siblings: [siblingAt("a", a.url, { auth })] });
    upstream.forget();
    await pull(t, b);
    return { fetched: blobsAsked(upstream, "GET"), siblings: (await stats(b)).siblings };
  };
  const allowed = await asked("mirror-b");
  t.equal(allowed.fetched, 0);
  t.match(allowed.siblings, [{ results: { hit: parts.length } }]);
  const forbidden = await asked("alice");
  t.equal(forbidden.fetched, parts.length, "whom it lets read nothing upstream sends everything");
  t.match(forbidden.siblings, [{ results: { hit: 0 }, lastError: { message: /does not let/ } }]);
});

t.test("what upstream refuses to a repository is not read at a sibling either", async (t) => {
  const { upstream, mirrors } = await datacenters(t, 2);
  const [a, b] = mirrors;
  await pull(t, a);
  await stored(a, parts.length);
  const { digest } = image.layers[0] as (typeof image.layers)[0];
  upstream.addImage("team/other", "1.0", makeImage({ layers: [10], seed: "other" }));
  const answer = await b.get(`/v2/team/other/blobs/${digest}`);
  t.equal(answer.status, 404);
  t.equal(answer.body.includes(image.layers[0]?.bytes.subarray(0, 100) as Buffer), false);
  t.match((await stats(b)).siblings, [{ results: { hit: 0 } }]);
});

t.test(
  "what a sibling is fetching from upstream is followed there: the far link carries it once",
  async (t) => {
    const { upstream, mirrors } = await datacenters(t, 2);
    const [a, b] = mirrors;
    const [layer] = image.layers as [(typeof image.layers)[0]];
    const path = `/v2/${app}/blobs/${layer.digest}`;
    const gate = Promise.withResolvers<void>();
    upstream.fault(({ kind, method }) =>
      kind === "blob" && method === "GET" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
    );
    await Promise.all([a, b].map((mirror) => mirror.get(`/v2/${app}/manifests/1.0`)));
    const first = a.get(path);
    // Its size is known from here on.
    await received(a, 70_000);
    const second = b.get(path);
    await upstream.until(() => blobsAsked(upstream, "HEAD") === 1);
    gate.resolve();
    for (const answer of [await first, await second]) t.ok(answer.body.equals(layer.bytes));
    t.equal(blobsAsked(upstream, "GET"), 1);
    const line = await b.line((each) => each.path === path);
    t.match(line, { result: "miss", source: "sibling:dc0" });
  },
);

t.test(
  "a mirror of another datacenter that sends wrong bytes: clients get the right ones, and it is left alone",
  async (t) => {
    const upstream = await startUpstream(t);
    upstream.addImage(app, "1.0", image);
    // It looks like a mirror, and its last bytes are wrong.
    const liar = await startUpstream(t, { path: "/upstream", anonymous: true });
    liar.addImage(app, "1.0", image);
    liar.fault(({ kind }) => (kind === "blob" ? { corrupt: true } : undefined));
    const base = new URL("/", liar.url);
    const mirror = await startMirror(t, upstream, { siblings: [siblingAt("liar", base)] });
    await mirror.get(`/v2/${app}/manifests/1.0`);
    const [large, , small] = image.layers as [(typeof image.layers)[0], unknown, (typeof image.layers)[0]];
    const answer = await mirror.get(`/v2/${app}/blobs/${large.digest}`);
    t.notOk(answer.complete, "what has begun ends short");
    t.notOk(answer.body.length === large.bytes.length);
    const again = await mirror.get(`/v2/${app}/blobs/${large.digest}`);
    t.ok(again.body.equals(large.bytes), "and comes right the next time");
    const other = await mirror.get(`/v2/${app}/blobs/${small.digest}`);
    t.ok(other.body.equals(small.bytes));
    t.equal(liar.count({ kind: "blob" }), 1, "it is asked for nothing more");
    t.match((await stats(mirror)).siblings, [{ state: "distrusted", results: { wrong: 1 } }]);
    await mirror.line(({ msg, sibling }) => sibling === "liar" && /wrong bytes/.test(String(msg)));
  },
);

t.test("wrong bytes of a small blob: the client waits, and gets the right ones", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage(app, "1.0", image);
  const liar = await startUpstream(t, { path: "/upstream", anonymous: true });
  liar.addImage(app, "1.0", image);
  liar.fault(({ kind }) => (kind === "blob" ? { corrupt: true } : undefined));
  const mirror = await startMirror(t, upstream, { siblings: [siblingAt("liar", new URL("/", liar.url))] });
  await mirror.get(`/v2/${app}/manifests/1.0`);
  const small = image.layers[2] as (typeof image.layers)[0];
  const answer = await mirror.get(`/v2/${app}/blobs/${small.digest}`);
  t.equal(answer.status, 200);
  t.ok(answer.body.equals(small.bytes));
});

t.test("one that is killed in the middle of a layer: upstream goes on from that byte", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage(app, "1.0", image);
  const sibling = await startUpstream(t, { path: "/upstream", anonymous: true });
  sibling.addImage(app, "1.0", image);
  sibling.fault(({ kind }) => (kind === "blob" ? { stallAfter: 120_000 } : undefined));
  const mirror = await startMirror(t, upstream, { siblings: [siblingAt("dc2", new URL("/", sibling.url))] });
  await mirror.get(`/v2/${app}/manifests/1.0`);
  const [layer] = image.layers as [(typeof image.layers)[0]];
  const answering = mirror.get(`/v2/${app}/blobs/${layer.digest}`);
  await received(mirror, 100_000);
  await sibling.stop();
  const answer = await answering;
  t.ok(answer.complete && answer.body.equals(layer.bytes));
  const asked = upstream.requests.find(({ kind, method }) => kind === "blob" && method === "GET");
  const from = Number(/^bytes=(\d+)-/.exec(String(asked?.headers.range))?.[1]);
  t.ok(from > 0 && from <= 120_000, `from ${from}`);
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
  t.equal(asked?.bytes, layer.bytes.length - from, "and no byte comes twice");
  t.equal(sibling.count({ kind: "blob" }), 1);
});

t.test("the manifest of a tag that has moved comes from a sibling; upstream says which it is", async (t) => {
  const { upstream, mirrors } = await datacenters(t, 2, { tags: { ttl: 0 } });
  const [a, b] = mirrors;
  await b.get(`/v2/${app}/manifests/1.0`);
  const next = makeImage({ layers: [10], seed: "next" });
  upstream.addImage(app, "1.0", next);
  await a.get(`/v2/${app}/manifests/1.0`);
  upstream.forget();
  const answer = await b.get(`/v2/${app}/manifests/1.0`);
  t.ok(answer.body.equals(next.manifest));
  t.equal(upstream.count({ kind: "manifest", method: "HEAD" }), 1);
  t.equal(upstream.count({ kind: "manifest", method: "GET" }), 0);
  t.match(await b.line(({ source }) => source === "sibling:dc0"), { result: "miss", route: "manifest_tag" });
});

t.test(
  "a manifest by a digest that is not known to be in the repository is asked of upstream alone",
  async (t) => {
    const { upstream, mirrors } = await datacenters(t, 2);
    const [a, b] = mirrors;
    await a.get(`/v2/${app}/manifests/1.0`);
    upstream.forget();
    const answer = await b.get(`/v2/${app}/manifests/${image.digest}`);
    t.equal(answer.status, 200);
    t.equal(upstream.count({ kind: "manifest" }), 1);
    t.equal(fromSiblings(a).length, 0);
  },
);
