// The next layers of an image come while a client pulls it, through the whole mirror and over real sockets.
import t, { type Test } from "tap";
import { createPrefetch } from "../../../src/app/images/prefetch.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { makeImage } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import {
  type Answer,
  type Mirror,
  type MirrorOptions,
  mirrorConfig,
  startMirror,
} from "../../fixtures/mirror.ts";
import { startPassthrough } from "../../fixtures/passthrough.ts";
import { type ScriptedUpstream, startUpstream } from "../../fixtures/scripted-upstream.ts";

const repository = "team/app";
const size = 100_000;
const image = makeImage({ seed: "ahead", layers: Array.from({ length: 6 }, () => size) });
const digests = image.layers.map(({ digest }) => digest as string);
const cache = { prefetch: 16_000_000 };
const alice = { authorization: `Basic ${Buffer.from("alice:a").toString("base64")}` };
const users = { alice: { password: "a", reads: [repository] } };

async function start(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage(repository, "1", image);
  const notices: Notice[] = [];
  const sink = { name: "test", onNotice: (notice: Notice) => void notices.push(notice) };
  const mirror = await startMirror(t, upstream, {
    ...options,
    cache: { ...cache, ...options.cache },
    sinks: [sink],
  });
  return { upstream, mirror, notices };
}

/** Upstream answers nothing about these layers before the returned function is called. */
function hold(upstream: ScriptedUpstream, held: readonly (string | undefined)[]): () => void {
  const until = gate();
  upstream.fault(({ kind, reference }) =>
    kind === "blob" && held.includes(reference) ? { holdUntil: until.opened } : undefined,
  );
  return until.open;
}

function manifestOf(mirror: Mirror, headers?: Record<string, string>): Promise<Answer> {
  return mirror.get(`/v2/${repository}/manifests/1`, headers);
}

function blobOf(
  mirror: Mirror,
  digest: string | undefined,
  headers?: Record<string, string>,
): Promise<Answer> {
  return mirror.get(`/v2/${repository}/blobs/${digest}`, headers);
}

/** Layers that upstream was asked for, by their places. */
function asked(upstream: ScriptedUpstream): number[] {
  return upstream.requests
    .filter(({ kind, method }) => kind === "blob" && method === "GET")
    .map(({ reference }) => digests.indexOf(reference ?? ""))
    .sort();
}

/** Waits until the mirror has answered something new: what it had begun before has had its time. */
async function settled(mirror: Mirror): Promise<void> {
  await mirror.get("/v2/");
  await quiet();
}

t.test("a client joins what was fetched ahead of it, and each layer comes once", async (t) => {
  const { upstream, mirror, notices } = await start(t);
  const release = hold(upstream, digests);
  await manifestOf(mirror);
  const first = blobOf(mirror, digests[0]);
  await upstream.until(() => asked(upstream).length === 4);
  const second = blobOf(mirror, digests[1]);
  await eventually("it has joined", () => notices.some((notice) => notice.kind === "prefetch"));
  await upstream.until(() => asked(upstream).length === 6);
  release();
  const answers = await Promise.all([first, second]);
  await upstream.until(() => upstream.count({ kind: "blob", finished: true }) === 6);
  for (const digest of digests.slice(2)) answers.push(await blobOf(mirror, digest));
  t.same(
    answers.map(({ status, body }, at) => status === 200 && body.equals(image.layers[at]?.bytes as Buffer)),
    digests.map(() => true),
  );
  t.match(answers[0]?.headers["cache-status"], /fwd=uri-miss/);
  t.match(answers[1]?.headers["cache-status"], /collapsed/);
  for (const answer of answers.slice(2)) t.match(answer.headers["cache-status"], /hit|collapsed/);
  t.same(asked(upstream), [0, 1, 2, 3, 4, 5]);
  t.equal(upstream.count({ method: "HEAD", kind: "blob" }), 0);
  t.equal(upstream.count({ kind: "blob" }), 6);
  const metrics = await (await fetch(new URL("/metrics", mirror.ops))).text();
  t.match(metrics, /^entrepot_prefetched_layers_total\{result="used"\} 5$/m);
  t.match(metrics, /^entrepot_prefetched_bytes_total\{result="used"\} 500000$/m);
  t.match(metrics, /^entrepot_prefetched_layers_total\{result="unused"\} 0$/m);
});

t.test("once a client skips a layer nothing more begins", async (t) => {
  const { upstream, mirror } = await start(t, { cache: { prefetch: 2.5 * size } });
  await manifestOf(mirror);
  const release = hold(upstream, digests.slice(0, 2));
  const first = blobOf(mirror, digests[0]);
  await upstream.until(() => asked(upstream).length === 3);
  await blobOf(mirror, digests[2]);
  await blobOf(mirror, digests[3]);
  await settled(mirror);
  t.same(asked(upstream), [0, 1, 2, 3], "the last two are left for the client to ask for");
  release();
  await first;
  await settled(mirror);
  t.same(asked(upstream), [0, 1, 2, 3]);
});

t.test("a layer that is known by denied tags alone is not fetched, nor any behind it", async (t) => {
  const { upstream, mirror } = await start(t);
  const manifest = JSON.parse(image.manifest.toString());
  const allowed = JSON.stringify({ ...manifest, layers: manifest.layers.slice(0, 1) });
  upstream.addManifest(repository, "allowed", Buffer.from(allowed), image.mediaType);
  t.equal((await mirror.get(`/v2/${repository}/manifests/allowed`)).status, 200);
  t.equal((await manifestOf(mirror)).status, 200);
  const deny = { deny: [`${repository}:1`] };
  const config = mirrorConfig(upstream, mirror.directory, { cache, upstream: deny });
  const applied = [{ key: "upstream.deny", upstream: { name: "upstream", key: "deny" }, text: "deny" }];
  t.ok(mirror.app.reload({ ok: true, config, warnings: [], changes: { applied, needRestart: [] } }));
  t.equal((await blobOf(mirror, digests[1])).status, 403);
  t.equal((await blobOf(mirror, digests[0])).status, 200, "another tag has it as well");
  await settled(mirror);
  t.same(asked(upstream), [0]);
});

t.test("an image that is here costs nothing", async (t) => {
  const { upstream, mirror } = await start(t);
  for (const pull of [1, 2]) {
    await manifestOf(mirror);
    for (const digest of digests) t.equal((await blobOf(mirror, digest)).body.length, size, `pull ${pull}`);
    await settled(mirror);
    t.same(asked(upstream), pull === 1 ? [0, 1, 2, 3, 4, 5] : []);
    upstream.forget();
  }
});

t.test("with 0 nothing is fetched ahead", async (t) => {
  const { upstream, mirror } = await start(t, { cache: { prefetch: 0 } });
  await manifestOf(mirror);
  await blobOf(mirror, digests[0]);
  await settled(mirror);
  t.same(asked(upstream), [0]);
});

t.test("a range, and HEAD, begin nothing", async (t) => {
  const { upstream, mirror } = await start(t);
  await manifestOf(mirror);
  await blobOf(mirror, digests[0], { range: "bytes=10-20" });
  await mirror.ask("HEAD", `/v2/${repository}/blobs/${digests[2]}`);
  await settled(mirror);
  t.same(asked(upstream), [0]);
});

t.test("in passthrough with the credentials of a caller that waits, and else not", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users, { cache: { prefetch: 1.5 * size } });
  upstream.addImage(repository, "1", image);
  const releaseFirst = hold(upstream, digests.slice(0, 1));
  const releaseSecond = hold(upstream, digests.slice(1, 2));
  t.equal((await manifestOf(mirror, alice)).status, 200);
  const first = blobOf(mirror, digests[0], alice);
  await upstream.until(() => asked(upstream).length === 2);
  t.same(
    upstream.requests.filter(({ kind }) => kind === "blob").map(({ headers }) => headers.authorization),
    [alice.authorization, alice.authorization],
  );
  releaseFirst();
  t.equal((await first).status, 200);
  releaseSecond();
  await upstream.until(() => upstream.count({ kind: "blob", finished: true }) === 2);
  await settled(mirror);
  t.same(asked(upstream), [0, 1], "the next would have had room, and nobody waits");
  const third = blobOf(mirror, digests[2], alice);
  t.equal((await third).status, 200);
});

t.test("in passthrough nothing is kept that the caller may not read, nor begun behind it", async (t) => {
  const names = { ...users, bob: { password: "b", reads: [repository] } };
  const { upstream, mirror } = await startPassthrough(t, names, { cache: { prefetch: 1.5 * size } });
  upstream.addImage(repository, "1", image);
  upstream.fault(({ headers, reference }) =>
    headers.authorization === alice.authorization && reference === digests[1] ? { status: 403 } : undefined,
  );
  const release = hold(upstream, digests.slice(0, 1));
  t.equal((await manifestOf(mirror, alice)).status, 200);
  const first = blobOf(mirror, digests[0], alice);
  await upstream.until(() => upstream.count({ kind: "blob", reference: digests[1], finished: true }) === 1);
  await settled(mirror);
  release();
  t.equal((await first).status, 200);
  await settled(mirror);
  t.same(asked(upstream), [0, 1], "nothing behind it");
  t.same(
    upstream.requests.filter(({ kind }) => kind === "blob").map(({ headers }) => headers.authorization),
    [alice.authorization, alice.authorization],
  );
  t.equal((await blobOf(mirror, digests[1], alice)).status, 403);
  const bob = { authorization: `Basic ${Buffer.from("bob:b").toString("base64")}` };
  upstream.forget();
  t.equal((await blobOf(mirror, digests[1], bob)).status, 200);
  t.ok(asked(upstream).includes(1), "it was not here");
});

t.test("a caller whose fills a rule bounds gets no more than that", async (t) => {
  const everybody = { users: [], groups: [], anonymous: false, networks: [], shared: false };
  const { upstream, mirror } = await start(t, {
    limits: { rules: [{ ...everybody, networks: ["127.0.0.1"], coldFills: 1 }] },
  });
  await manifestOf(mirror);
  t.equal((await blobOf(mirror, digests[0])).status, 200);
  await settled(mirror);
  t.same(asked(upstream), [0]);
});

t.test("of several nodes only where the others can read what one has fetched", async (t) => {
  const directory = t.testdir();
  const upstream = await startUpstream(t);
  const made = (options: object): boolean => {
    const config = { ...mirrorConfig(upstream, directory, { cache }), ...options };
    return createPrefetch({ config: () => config, policy: {} } as never) !== undefined;
  };
  const [redis, s3] = [{}, {}];
  const node = { name: "node", address: "http://10.0.0.7:5000" };
  t.ok(made({}));
  t.ok(made({ node }));
  t.notOk(made({ nodes: ["http://10.0.0.8:5000"] }));
  t.notOk(made({ redis }));
  t.ok(made({ redis, node }));
  t.notOk(made({ s3 }));
  t.ok(made({ redis, s3 }));
});
