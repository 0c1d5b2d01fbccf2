// What operators purge and refresh on several nodes that know each other by a list, one of them stopped meanwhile.
import { open, readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { mock } from "node:test";
import t, { type Test } from "tap";
import type { Repository, Tag } from "../src/oci/name.ts";
import type { PinsReport } from "../src/ops/pins/pin-report.ts";
import type { PurgeReport, RefreshReport } from "../src/ops/purge/purge-report.ts";
import type { DatacenterDocument } from "../src/ops/stats/datacenter.ts";
import type { NodeSummary } from "../src/ports/datacenter/nodes.ts";
import { fixedSecret, Secret } from "../src/ports/secret.ts";
import { openIndex } from "../src/storage/index/sqlite-index.ts";
import { makeImage } from "./fixtures/images.ts";
import { eventually, gate, ManualClock, quiet } from "./fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { s3ConfigOf } from "./fixtures/s3-fixture.ts";
import { startS3 } from "./fixtures/scripted-s3.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";
import { freePort } from "./system/fixtures/free-port.ts";

const secret = fixedSecret(new Secret("a secret of all nodes".padEnd(32, "x")));
const names = ["a", "b", "c"] as const;
const repository = "team/app";

async function startNodes(t: Test, options: MirrorOptions = {}) {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const clock = new ManualClock();
  // Files have the time of the machine.
  clock.now = Date.now();
  const upstream = await startUpstream(t);
  const ports: number[] = [];
  for (const _ of names) ports.push(await freePort());
  const nodes = ports.map((port) => `http://127.0.0.1:${port}`);
  const root = t.testdir({ a: {}, b: {}, c: {} });
  const start = (at: 0 | 1 | 2): Promise<Mirror> =>
    startMirror(t, upstream, {
      clock: clock.read,
      node: { name: names[at], address: nodes[at], secret },
      nodes,
      port: ports[at] as number,
      cache: { dir: `${root}/${names[at]}` },
      ...options,
    });
  const mirrors: [Mirror, Mirror, Mirror] = [await start(0), await start(1), await start(2)];
  return { clock, upstream, mirrors, start };
}

/** Until the node has heard of all three. */
async function acquainted(mirror: Mirror): Promise<void> {
  for (let times = 0; times < 500; times++) {
    const answer = await fetch(new URL("/api/v1/datacenter", mirror.ops));
    const { totals } = (await answer.json()) as DatacenterDocument;
    if (totals.nodes === 3) return;
    mock.timers.tick(5_000);
  }
  throw new Error("the nodes did not hear of each other");
}

async function post<Answer>(mirror: Mirror, path: string, body: object, status = 200): Promise<Answer> {
  const answer = await fetch(new URL(path, mirror.ops), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (answer.status !== status) throw new Error(`${answer.status}: ${text}`);
  return JSON.parse(text) as Answer;
}

const purge = (mirror: Mirror, reference: string, more: object = {}) =>
  post<PurgeReport>(mirror, "/api/v1/purge", { reference, ...more });

/** Digests of what is on the node's disk. */
async function stored({ directory }: Mirror): Promise<string[]> {
  const files = await readdir(join(directory, "blobs"), { recursive: true, withFileTypes: true });
  const digests = files.filter((each) => each.isFile()).map(({ name }) => `sha256:${name.split(":").at(-1)}`);
  return digests.sort();
}

/** Until that is so of what is on the disk, and the index knows it. */
async function stands(mirror: Mirror, holds: (digests: readonly string[]) => boolean): Promise<void> {
  for (let times = 0; times < 10_000; times++) {
    const { store } = (await (await fetch(new URL("/api/v1/node", mirror.ops))).json()) as NodeSummary;
    const digests = await stored(mirror);
    if (store.objects === digests.length && holds(digests)) return;
  }
  throw new Error("the store did not come to that");
}

/** What was asked for is on the disk when it resolves. */
/** Until all of the pinned image is here. */
async function isPinned(mirror: Mirror): Promise<void> {
  for (let times = 0; times < 10_000; times++) {
    const { pins } = (await (await fetch(new URL("/api/v1/pins", mirror.ops))).json()) as PinsReport;
    if (pins[0]?.state === "whole") return;
  }
  throw new Error("the pinned image did not come");
}

async function pull(mirror: Mirror, tag: string, image = { layers: [] as readonly { digest: string }[] }) {
  const { status } = await mirror.get(`/v2/${repository}/manifests/${tag}`);
  for (const { digest } of image.layers) await mirror.get(`/v2/${repository}/blobs/${digest}`);
  await stands(mirror, (digests) => image.layers.every(({ digest }) => digests.includes(digest)));
  return status;
}

t.test("a tag purged on three nodes, one of them stopped, is gone from all after its return", async (t) => {
  const { mirrors, upstream, start } = await startNodes(t);
  const [a, b, c] = mirrors;
  const old = makeImage({ layers: [10_000, 20_000], seed: "old" });
  const base = makeImage({ layers: [5_000], seed: "base" });
  const other = { ...makeImage({ layers: [5_000], seed: "base" }) };
  upstream.addImage(repository, "1.0", old);
  upstream.addImage(repository, "2.0", base);
  for (const mirror of mirrors) {
    await pull(mirror, "1.0", old);
    await pull(mirror, "2.0", other);
  }
  for (const mirror of mirrors) await acquainted(mirror);
  await c.app.stop();
  const dry = await purge(a, `${repository}:1.0`, { dryRun: true });
  t.match(dry, {
    id: null,
    kind: "tag",
    tags: [{ tag: "1.0", digest: old.digest }],
    sums: { tags: 1, images: 1, layers: 2, staysParts: 0 },
    nodes: [
      { name: "a", self: true, state: "planned", parts: 3 },
      { name: "b", state: "planned", parts: 3 },
      { name: "c", state: "away" },
    ],
  });
  t.equal((await stored(a)).length, 5, "a dry run deletes nothing");
  const done = await purge(a, `${repository}:1.0`);
  t.match(done, {
    sums: { tags: 1, images: 1, layers: 2, bytes: old.manifest.length + 30_000 },
    nodes: [
      { name: "a", self: true, state: "done", parts: 3, bytes: old.manifest.length + 30_000 },
      { name: "b", self: false, state: "done", parts: 3 },
      { name: "c", self: false, state: "away", parts: null },
    ],
  });
  const left = [base.digest, ...base.layers.map(({ digest }) => digest)].sort();
  t.same(await stored(a), left);
  t.same(await stored(b), left);
  t.equal((await stored(c)).length, 5, "it is away");
  upstream.forget();
  const back = await start(2);
  t.same(await stored(back), left, "it has heard of it before it serves");
  t.equal(await pull(back, "1.0"), 200);
  t.equal(upstream.count({ method: "GET", kind: "manifest" }), 1, "and asks upstream again");
  // Once done it is not done again.
  mock.timers.tick(20_000);
  t.equal(await pull(back, "1.0"), 200);
  t.equal(upstream.count({ method: "GET", kind: "manifest" }), 1);
});

t.test("what a node fetched after the purge stays when it hears of it late", async (t) => {
  const { mirrors, upstream, start } = await startNodes(t);
  const [a, , c] = mirrors;
  const image = makeImage({ layers: [10_000, 20_000] });
  upstream.addImage(repository, "1.0", image);
  for (const mirror of mirrors) await pull(mirror, "1.0", image);
  await acquainted(a);
  await c.app.stop();
  await purge(a, `${repository}:1.0`);
  const [layer] = image.layers as [(typeof image.layers)[0]];
  const files = await readdir(join(c.directory, "blobs"), { recursive: true, withFileTypes: true });
  const file = files.find(({ name }) => name.endsWith(layer.digest.slice("sha256:".length)));
  if (file === undefined) throw new Error("the layer is stored");
  const later = new Date(Date.now() + 60_000);
  await utimes(join(file.parentPath, file.name), later, later);
  const back = await start(2);
  t.same(await stored(back), [layer.digest]);
  t.ok(back.lines.some((line) => line.msg === "purged from the cache" && line.newer === 1));
});

t.test("layers that something else uses stay, on whichever node that is known", async (t) => {
  const { mirrors, upstream } = await startNodes(t);
  const [a, b] = mirrors;
  const one = makeImage({ layers: [10_000, 20_000], seed: "shared" });
  // The same first layer, in another image that only b knows.
  const [shared] = one.layers as [(typeof one.layers)[0]];
  const two = makeImage({ layers: [10_000], seed: "shared" });
  t.equal(two.layers[0]?.digest, shared.digest);
  upstream.addImage(repository, "1", one);
  upstream.addImage(repository, "2", two);
  for (const mirror of [a, b]) await pull(mirror, "1", one);
  await pull(b, "2", two);
  for (const mirror of mirrors) await acquainted(mirror);
  const report = await purge(a, `${repository}@${one.digest}`);
  t.match(report, {
    kind: "image",
    tags: [{ tag: "1" }],
    stays: [{ digest: shared.digest, why: "node b knows who uses it" }],
  });
  t.same(await stored(a), [shared.digest]);
  t.same(await stored(b), [shared.digest, two.digest].sort());
});

t.test("a whole repository, and no other", async (t) => {
  const { mirrors, upstream } = await startNodes(t);
  const [a, b] = mirrors;
  const one = makeImage({ layers: [10_000], seed: "one" });
  const two = makeImage({ layers: [20_000], seed: "two" });
  const base = makeImage({ layers: [10_000, 7_000], seed: "one" });
  upstream.addImage(repository, "1", one);
  upstream.addImage(repository, "2", two);
  upstream.addImage("team/other", "1", base);
  for (const mirror of [a, b]) {
    await pull(mirror, "1", one);
    await pull(mirror, "2", two);
  }
  await b.get("/v2/team/other/manifests/1");
  for (const { digest } of base.layers) await b.get(`/v2/team/other/blobs/${digest}`);
  await stands(b, ({ length }) => length === 6);
  for (const mirror of mirrors) await acquainted(mirror);
  const report = await purge(b, repository);
  t.match(report, { kind: "repository", sums: { tags: 2, images: 2, layers: 1, staysParts: 1 } });
  t.match(report.stays[0], {
    digest: one.layers[0]?.digest,
    why: "it is in upstream/team/other as well",
  });
  t.same(await stored(b), [base.digest, ...base.layers.map(({ digest }) => digest)].sort());
  upstream.forget();
  t.equal((await b.get(`/v2/${repository}/blobs/${one.layers[0]?.digest}`)).status, 200);
  t.ok(upstream.count({ kind: "blob" }) > 0, "the right to it is asked for again");
  t.same(await stored(a), [one.layers[0]?.digest], "which b uses");
});

t.test("a digest alone is the image in all repositories", async (t) => {
  const { mirrors, upstream } = await startNodes(t);
  const [a] = mirrors;
  const image = makeImage({ layers: [10_000] });
  for (const name of [repository, "team/copy"]) {
    upstream.addImage(name, "1", image);
    await a.get(`/v2/${name}/manifests/1`);
    await a.get(`/v2/${name}/blobs/${image.layers[0]?.digest}`);
  }
  await stands(a, ({ length }) => length === 2);
  const one = await purge(a, `team/copy@${image.digest}`);
  t.match(one, { sums: { tags: 1, images: 0, layers: 0 }, stays: [{ digest: image.digest }, {}, {}] });
  t.equal((await stored(a)).length, 2, "another repository has it");
  const all = await purge(a, image.digest);
  t.match(all, { kind: "image", upstream: null, tags: [{ tag: "1" }], sums: { images: 1, layers: 1 } });
  t.same(await stored(a), []);
});

t.test("a refreshed tag is asked for at every node at once, and says what it was", async (t) => {
  const { mirrors, upstream } = await startNodes(t, { tags: { ttl: 3_600_000 } });
  const [a, b, c] = mirrors;
  const image = makeImage({ layers: [], seed: "1" });
  upstream.addImage(repository, "latest", image);
  for (const mirror of [a, b]) await pull(mirror, "latest");
  for (const mirror of mirrors) await acquainted(mirror);
  const refresh = (reference: string) => post<RefreshReport>(a, "/api/v1/refresh", { reference });
  t.match(await refresh(`${repository}:latest`), {
    nodes: [
      { name: "a", state: "unchanged", was: image.digest, is: image.digest },
      { name: "b", state: "unchanged" },
      { name: "c", state: "new", was: null, is: image.digest },
    ],
  });
  const moved = makeImage({ layers: [], seed: "2" });
  upstream.addImage(repository, "latest", moved);
  t.match(await refresh(`${repository}:latest`), {
    nodes: [image, image, image].map(({ digest }) => ({ state: "moved", was: digest, is: moved.digest })),
  });
  for (const mirror of mirrors)
    t.equal(
      (await mirror.get(`/v2/${repository}/manifests/latest`)).headers["docker-content-digest"],
      moved.digest,
    );
  t.match(await refresh(`${repository}:none`), { nodes: [{ state: "gone" }, {}, {}] });
  await c.app.stop();
  await upstream.stop();
  t.match(await refresh(`${repository}:latest`), {
    nodes: [{ state: "failed", problem: /upstream/ }, { state: "failed" }, { name: "c", state: "away" }],
  });
  t.equal(await pull(a, "latest"), 200, "what was here stays");
});

t.test(
  "a node of the list that has not been heard of is told of, whether it is away or refuses",
  async (t) => {
    const upstream = await startUpstream(t);
    const image = makeImage({ layers: [] });
    upstream.addImage(repository, "1", image);
    const [port, away] = [await freePort(), await freePort()];
    const address = `http://127.0.0.1:${port}`;
    // It is no mirror, and has none of the paths of nodes.
    const refuses = upstream.url.origin;
    const mirror = await startMirror(t, upstream, {
      node: { name: "a", address, secret },
      nodes: [address, `http://127.0.0.1:${away}`, refuses],
      port,
    });
    await pull(mirror, "1");
    const refreshed = await post<RefreshReport>(mirror, "/api/v1/refresh", { reference: `${repository}:1` });
    const statesOf = (nodes: readonly { readonly name: string; readonly state: string }[]) =>
      Object.fromEntries(nodes.map(({ name, state }) => [name, state]));
    t.same(statesOf(refreshed.nodes), {
      a: "unchanged",
      [`http://127.0.0.1:${away}`]: "away",
      [refuses]: "failed",
    });
    t.same(statesOf((await purge(mirror, `${repository}:1`)).nodes), {
      a: "done",
      [`http://127.0.0.1:${away}`]: "away",
      [refuses]: "partly",
    });
  },
);

t.test("a refreshed digest is hashed, and fetched again when it is wrong", async (t) => {
  const { mirrors, upstream } = await startNodes(t);
  const [a] = mirrors;
  const image = makeImage({ layers: [100_000] });
  upstream.addImage(repository, "1", image);
  await pull(a, "1", image);
  const reference = `${repository}@${image.digest}`;
  const refresh = () => post<RefreshReport>(a, "/api/v1/refresh", { reference });
  t.match((await refresh()).nodes[0], {
    state: "sound",
    checked: 2,
    wrong: 0,
    bytes: image.manifest.length + 100_000,
  });
  const [layer] = image.layers as [(typeof image.layers)[0]];
  const files = await readdir(join(a.directory, "blobs"), { recursive: true, withFileTypes: true });
  const file = files.find(({ name }) => name.endsWith(layer.digest.slice("sha256:".length)));
  if (file === undefined) throw new Error("the layer is stored");
  const handle = await open(join(file.parentPath, file.name), "r+");
  await handle.write(Buffer.from("rot"), 0, 3, 500);
  await handle.close();
  t.match((await refresh()).nodes[0], { state: "fetched", checked: 2, wrong: 1 });
  await stands(a, ({ length }) => length === 2);
  t.match((await refresh()).nodes[0], { state: "sound", checked: 2 });
});

t.test("a running download of what goes is ended, and nothing of it is stored", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [300_000, 10_000] });
  const [large] = image.layers as [(typeof image.layers)[0]];
  upstream.addImage(repository, "1", image);
  await pull(mirror, "1");
  const released = gate();
  const withdraw = upstream.fault(({ reference }) =>
    reference === large.digest ? { stallAfter: 100_000, releaseOn: released.opened } : undefined,
  );
  const client = mirror.get(`/v2/${repository}/blobs/${large.digest}`);
  await eventually("the layer is on its way", () => upstream.count({ reference: large.digest }) > 0);
  const report = await purge(mirror, `${repository}:1`);
  t.match(report.nodes, [{ state: "done", parts: 1 }]);
  t.ok(report.goes.some(({ digest, here }) => digest === large.digest && !here));
  released.open();
  t.equal((await client).complete, false, "who waited for it is cut off");
  t.same(await stored(mirror), []);
  withdraw();
  const again = await mirror.get(`/v2/${repository}/blobs/${large.digest}`);
  t.same(again.body, large.bytes, "and is given all of it when he asks again");
});

t.test("answers of upstream that were under way bring nothing back", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { tags: { ttl: 3_600_000 } });
  const image = makeImage({ layers: [] });
  upstream.addImage(repository, "1", image);
  for (const reference of ["1", image.digest]) {
    const [asked, released] = [gate(), gate()];
    const withdraw = upstream.fault(({ kind, method }) => {
      if (kind !== "manifest" || method !== "GET") return undefined;
      asked.open();
      return { holdUntil: released.opened };
    });
    const client = mirror.get(`/v2/${repository}/manifests/${reference}`);
    await asked.opened;
    await purge(mirror, image.digest);
    await purge(mirror, `${repository}:1`);
    withdraw();
    released.open();
    t.equal((await client).status, 200, "who has asked is answered");
    upstream.forget();
    // Another purge finds whether anything has come back.
    const left = await purge(mirror, `${repository}:1`, { dryRun: true });
    t.same(left.tags, []);
    if (reference === image.digest) t.same(await stored(mirror), []);
  }
});

t.test("objects in S3 go as well; what was away is deleted later", async (t) => {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const upstream = await startUpstream(t);
  const s3 = await startS3(t);
  const mirror = await startMirror(t, upstream, { s3: s3ConfigOf(s3.url) });
  const image = makeImage({ layers: [10_000] });
  const other = makeImage({ layers: [20_000], seed: "other" });
  upstream.addImage(repository, "1", image);
  upstream.addImage(repository, "2", other);
  await pull(mirror, "1", image);
  await pull(mirror, "2", other);
  await eventually("all is in S3", () => s3.objects.size === 4);
  const report = await purge(mirror, `${repository}:1`);
  t.match(report, { s3: true, nodes: [{ state: "done" }] });
  t.equal(s3.objects.size, 2);
  t.ok([...s3.objects.keys()].every((key) => !key.includes(image.digest.slice(7))));
  upstream.forget();
  await pull(mirror, "1", image);
  t.equal(
    upstream.count({ reference: image.layers[0]?.digest ?? "" }),
    1,
    "and is fetched from upstream again",
  );
  await eventually("it is in S3 again", () => s3.objects.size === 4);
  const withdraw = s3.fault(({ operation }) =>
    operation === "delete" || operation === "head" ? { status: 500 } : undefined,
  );
  const failed = await purge(mirror, `${repository}:2`);
  t.match(failed, { nodes: [{ state: "partly", parts: 2 }] });
  t.equal(s3.objects.size, 4);
  withdraw();
  await eventually("S3 is asked again", () => {
    mock.timers.tick(15_000);
    return s3.objects.size === 2;
  });
});

t.test("a purge that S3 refuses is tried again without ending what began after it", async (t) => {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const upstream = await startUpstream(t);
  const s3 = await startS3(t);
  const mirror = await startMirror(t, upstream, { s3: s3ConfigOf(s3.url) });
  const image = makeImage({ layers: [300_000] });
  const [layer] = image.layers as [(typeof image.layers)[0]];
  upstream.addImage(repository, "1", image);
  await pull(mirror, "1", image);
  await eventually("all is in S3", () => s3.objects.size === 2);
  s3.faultOf("delete", { status: 403 });
  t.match(await purge(mirror, `${repository}:1`), { nodes: [{ state: "partly", parts: 2 }] });
  const released = gate();
  upstream.fault(({ reference }) =>
    reference === layer.digest ? { stallAfter: 100_000, releaseOn: released.opened } : undefined,
  );
  upstream.forget();
  t.equal((await mirror.get(`/v2/${repository}/manifests/1`)).status, 200);
  const client = mirror.get(`/v2/${repository}/blobs/${layer.digest}`);
  await eventually("the layer is on its way", () => upstream.count({ reference: layer.digest }) > 0);
  const deletes = () => s3.requests.filter(({ operation }) => operation === "delete").length;
  const before = deletes();
  mock.timers.tick(15_000);
  await eventually("S3 is asked again", () => deletes() > before);
  released.open();
  t.same((await client).body, layer.bytes, "the client gets all of it");
  t.equal((await mirror.get(`/v2/${repository}/manifests/1`)).status, 200);
  t.equal(upstream.count({ kind: "manifest", method: "GET" }), 1, "and the tag is still known");
});

t.test("a node that starts while nobody can be asked uploads nothing before it has heard", async (t) => {
  const s3 = await startS3(t);
  const { mirrors, upstream, start } = await startNodes(t, { s3: s3ConfigOf(s3.url) });
  const [a, b, c] = mirrors;
  const image = makeImage({ layers: [10_000] });
  upstream.addImage(repository, "1", image);
  for (const mirror of [a, c]) await pull(mirror, "1", image);
  await eventually("all is in S3", () => s3.objects.size === 2);
  await acquainted(a);
  await c.app.stop();
  await purge(a, `${repository}:1`);
  t.equal(s3.objects.size, 0);
  await a.app.stop();
  await b.app.stop();
  const uploads = s3.count("put");
  const back = await start(2);
  t.equal((await stored(back)).length, 2, "it has not heard of it");
  await quiet(1_000);
  const once = await start(0);
  mock.timers.tick(15_000);
  await back.line(({ msg }) => msg === "purged from the cache");
  t.same(await stored(back), []);
  t.equal(s3.count("put"), uploads);
  // What it has then is offered as ever.
  await pull(once, "1", image);
  await eventually("it is in S3", () => s3.objects.size === 2);
});

t.test("what upstream gave to a client of few media types goes with the image", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { tags: { ttl: 3_600_000 } });
  upstream.addImage(repository, "1", makeImage({ layers: [], mediaTypes: "docker" }));
  await pull(mirror, "1");
  const other = makeImage({ layers: [] });
  upstream.addImage(repository, "1", other);
  const get = () => mirror.get(`/v2/${repository}/manifests/1`, { accept: other.mediaType });
  t.same((await get()).body, other.manifest);
  await purge(mirror, other.digest);
  upstream.forget();
  t.same((await get()).body, other.manifest);
  t.equal(upstream.count({ kind: "manifest", method: "GET" }), 1, "which no tag here names");
});

t.test("what pinned images need goes only when that is said", async (t) => {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [10_000] });
  upstream.addImage(repository, "1", image);
  const mirror = await startMirror(t, upstream);
  await post(mirror, "/api/v1/pins", { image: `${repository}:1` }, 201);
  await isPinned(mirror);
  t.match(await purge(mirror, `${repository}:1`, { dryRun: true }), {
    pinnedBy: [`upstream/${repository}:1`],
  });
  await t.rejects(purge(mirror, `${repository}:1`), /^409: .*upstream\/team\/app:1/);
  t.equal((await stored(mirror)).length, 3);
  t.match(await purge(mirror, `${repository}:1`, { force: true }), { nodes: [{ state: "done", parts: 3 }] });
  t.same(await stored(mirror), []);
});

t.test(
  "a purge is in the log, with who and what; one that is interrupted is done at the next start",
  async (t) => {
    const upstream = await startUpstream(t);
    const directory = t.testdir();
    const image = makeImage({ layers: [10_000] });
    upstream.addImage(repository, "1", image);
    const mirror = await startMirror(t, upstream, { cache: { dir: directory } });
    await pull(mirror, "1", image);
    await purge(mirror, `${repository}:1`, { dryRun: true });
    t.match(await mirror.line(({ event }) => event === "audit"), {
      path: "/api/v1/purge",
      outcome: "dry_run",
      about: [`${repository}:1`],
    });
    await mirror.app.stop();
    const index = openIndex({ directory, clock: Date.now });
    const at = Date.now();
    const scope = { upstream: "upstream", repository: repository as Repository };
    const id = `${at}-0123456789ab`;
    index.purges.put({ id, at, scope, tag: "1" as Tag, digest: image.digest, parts: [] }, false);
    index.close();
    const again = await startMirror(t, upstream, { cache: { dir: directory } });
    t.same(await stored(again), []);
    t.match(await again.line(({ msg }) => msg === "purged from the cache"), {
      purge: id,
      tag: "1",
      parts: 2,
      done: true,
    });
  },
);

t.test("what cannot be read, and another registry's image, is refused", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  for (const path of ["/api/v1/purge", "/api/v1/refresh"]) {
    for (const reference of ["Team/App", "quay.example.com/team/app:1", "team/app:1.*"])
      await t.rejects(post(mirror, path, { reference }), /^400: /, reference);
    await t.rejects(post(mirror, path, {}), /^400: /);
    t.equal((await fetch(new URL(path, mirror.ops))).status, 405);
    const form = await fetch(new URL(path, mirror.ops), { method: "POST", body: "{}" });
    t.equal(form.status, 403, "a page of another site could send it");
  }
});
