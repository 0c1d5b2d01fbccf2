// What operators block: every way a client can ask by refuses it, on one node and on three that know each other by a list.
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { mock } from "node:test";
import t, { type Test } from "tap";
import type { BlocksReport } from "../src/ops/block/block-report.ts";
import { blocksSchema } from "../src/ops/block/block-schema.ts";
import type { DatacenterDocument } from "../src/ops/stats/datacenter.ts";
import { fixedSecret, Secret } from "../src/ports/secret.ts";
import {
  block,
  blockedDigests,
  fillUpstream,
  givingWays,
  go,
  images,
  leaks,
  reason,
  refusedWays,
  repository,
  servedWays,
  unblock,
  warmUp,
} from "./fixtures/block-ways.ts";
import { makeImage } from "./fixtures/images.ts";
import { eventually, gate, ManualPause } from "./fixtures/manual-time.ts";
import { type Line, type Mirror, type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { s3ConfigOf } from "./fixtures/s3-fixture.ts";
import { startS3 } from "./fixtures/scripted-s3.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";
import { runJob } from "./fixtures/warm-jobs.ts";
import { freePort } from "./system/fixtures/free-port.ts";

t.setTimeout(300_000);

const secret = fixedSecret(new Secret("a secret of all nodes".padEnd(32, "x")));
const { bad, good, infected } = images;
const at = (rest: string) => `/v2/${repository}/${rest}`;

async function startOne(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  fillUpstream(upstream);
  const mirror = await startMirror(t, upstream, { tags: { ttl: 3_600_000 }, ...options });
  return { upstream, mirror };
}

async function blockAll(mirror: Mirror): Promise<void> {
  for (const digest of blockedDigests) {
    const { status } = await block(mirror.ops, digest);
    if (status !== 200) throw new Error(`${digest} is not blocked: ${status}`);
  }
}

/** A client that has got the head of an answer and reads no further until it is asked how that ends. */
function reading(
  { url }: Pick<Mirror, "url">,
  path: string,
  range?: string,
): Promise<{ readonly status: number; ended(): Promise<"whole" | "broken off"> }> {
  return new Promise((resolve, reject) => {
    const headers = range === undefined ? {} : { range };
    const { hostname, port } = url;
    const sent = request({ hostname, port, path, headers, agent: false }, (answer) => {
      answer.pause();
      answer.on("error", () => {});
      resolve({
        status: answer.statusCode ?? 0,
        ended: () =>
          new Promise((over) => {
            answer.on("close", () => over(answer.complete ? "whole" : "broken off"));
            answer.resume();
          }),
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

function blobFile({ directory }: Mirror, digest: string): string {
  const found = readdirSync(join(directory, "blobs"), { recursive: true, encoding: "utf8" });
  return join(
    directory,
    "blobs",
    found.find((name) => name.endsWith(digest.slice("sha256:".length))) ?? "none",
  );
}

/** The ways by which the mirror gives nothing. */
async function notGiven(mirror: Mirror): Promise<readonly string[]> {
  const found: string[] = [];
  for (const way of givingWays) {
    const { status } = await go(way, mirror.url);
    if (status >= 300) found.push(`${way.name}: ${status}`);
  }
  return found;
}

async function served(t: Test, mirror: Mirror): Promise<void> {
  for (const way of servedWays) t.equal((await go(way, mirror.url)).status, 200, way.name);
}

t.test("nothing that is blocked comes by any way, from a cache that has all of it", async (t) => {
  const { mirror, upstream } = await startOne(t);
  await warmUp(mirror.url);
  t.same(await notGiven(mirror), []);
  await blockAll(mirror);
  upstream.forget();
  t.same(await leaks([mirror.url]), []);
  await served(t, mirror);
  const metrics = await (await fetch(new URL("/metrics", mirror.ops))).text();
  t.match(metrics, /^entrepot_blocked_digests 7$/m);
  t.match(metrics, /^entrepot_block_refusals_total\{because="itself"\} [1-9]\d*$/m);
  t.match(metrics, /^entrepot_block_refusals_total\{because="names"\} [1-9]\d*$/m);
  t.match(metrics, /^entrepot_block_refusals_total\{because="part"\} [1-9]\d*$/m);
  for (const digest of blockedDigests) t.equal((await unblock(mirror.ops, digest)).status, 200);
  t.same(await notGiven(mirror), [], "all of it is given out again");
});

t.test("nor from a cache that is empty, and what is blocked is not fetched for it", async (t) => {
  const { mirror, upstream } = await startOne(t);
  await blockAll(mirror);
  t.same(await leaks([mirror.url]), [], "the manifests are fetched, to know what they name");
  await served(t, mirror);
  for (const { digest } of [...bad.layers.slice(1), ...infected.layers, bad.config])
    t.equal(upstream.count({ reference: digest }), 0);
});

for (const stored of [false, true])
  t.test(`who is being sent a blob ${stored ? "from the disk" : "while it comes"} is cut off`, async (t) => {
    const { mirror, upstream } = await startOne(t);
    const large = makeImage({ layers: [40_000_000], seed: "large" });
    const [layer] = large.layers as unknown as [(typeof large.layers)[0]];
    upstream.addImage(repository, "large", large);
    await mirror.get(at("manifests/large"));
    const path = at(`blobs/${layer.digest}`);
    if (stored) {
      await mirror.get(path);
      await eventually("it is on the disk", () => existsSync(blobFile(mirror, layer.digest)));
    } else upstream.fault(({ kind }) => (kind === "blob" ? { stallAfter: 20_000_000 } : undefined));
    const clients = [
      await reading(mirror, path),
      await reading(mirror, path),
      await reading(mirror, path, "bytes=5-30000000"),
    ];
    for (const client of clients) t.ok(client.status < 300);
    await block(mirror.ops, large.digest);
    for (const client of clients) t.equal(await client.ended(), "broken off");
    const again = await mirror.get(path);
    t.equal(again.status, 403);
    t.notOk(
      mirror.lines.some(({ msg }) => String(msg).includes("nobody foresaw")),
      "which is no bug",
    );
    if (!stored)
      await upstream.until(() =>
        upstream.requests.every(({ kind, finished }) => kind !== "blob" || finished),
      );
  });

t.test("what is asked of upstream while it is blocked is not given either", async (t) => {
  const { mirror, upstream } = await startOne(t);
  const opened = gate();
  upstream.fault(({ kind }) =>
    kind === "manifest" || kind === "blob" ? { holdUntil: opened.opened } : undefined,
  );
  const asked = [
    mirror.get(at("manifests/bad")),
    mirror.get(at(`manifests/${bad.digest}`)),
    mirror.get(at("manifests/infected")),
    mirror.get(at(`blobs/${infected.layers[1]?.digest}`)),
    mirror.get(at(`blobs/${infected.layers[1]?.digest}`), { range: "bytes=1-9" }),
  ];
  await upstream.until(() => upstream.requests.length >= 4);
  await blockAll(mirror);
  opened.open();
  for (const answer of await Promise.all(asked)) t.equal(answer.status, 403, answer.body.toString());
});

t.test("nothing comes ahead of clients, while upstream is away, or counts as away", async (t) => {
  const { mirror, upstream } = await startOne(t, { cache: { prefetch: 1e9 } });
  await warmUp(mirror.url);
  await blockAll(mirror);
  const job = await runJob(mirror, {
    images: [`${repository}:bad`, `${repository}:infected`, `${repository}:half`],
  });
  t.match(job, { state: "failed", images: [{ state: "failed" }, { state: "failed" }, { state: "failed" }] });
  t.match(JSON.stringify(job), new RegExp(reason));
  const pinned = await fetch(new URL("/api/v1/pins", mirror.ops), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ image: `${repository}:bad` }),
  });
  t.equal(pinned.status, 409, await pinned.text());
  const drill = await fetch(new URL("/api/v1/drill", mirror.ops), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ clients: ["127.0.0.1"], durationMs: 60_000 }),
  });
  t.ok(drill.ok, await drill.text());
  // The others are not here: without upstream there is nothing to give.
  const here = refusedWays.filter(({ name }) => !/narrow Accept|4 MiB by tag/.test(name));
  t.same(await leaks([mirror.url], here), []);
  await served(t, mirror);
  await upstream.stop();
  t.same(await leaks([mirror.url], here), []);
});

t.test("why says that it is given to nobody, and the page lists it", async (t) => {
  const { mirror } = await startOne(t);
  await mirror.get(at("manifests/infected"));
  await blockAll(mirror);
  const answer = await fetch(new URL(`/api/v1/why?reference=${repository}:infected`, mirror.ops));
  t.match(
    ((await answer.json()) as { summary: string }).summary,
    `given to nobody: this image has ${infected.layers[1]?.digest}, which is blocked on this mirror: ${reason}`,
  );
  const page = await (await fetch(mirror.ops)).text();
  t.match(page, /<section id="blocked"[\s\S]*CVE-2026-0001/);
});

t.test("nothing is passed on under a blocked digest, nor a manifest that names one", async (t) => {
  const { mirror, upstream } = await startOne(t, { upstream: { push: true } });
  await blockAll(mirror);
  upstream.forget();
  const put = (path: string, body?: Buffer, type = bad.mediaType) =>
    mirror.ask("PUT", path, { "content-type": type }, body);
  for (const answer of [
    await put(at(`manifests/${bad.digest}`), bad.manifest),
    await put(at("manifests/new"), bad.manifest),
    await put(at("manifests/new"), infected.manifest),
    await mirror.ask(
      "POST",
      at(`blobs/uploads/?digest=${infected.layers[1]?.digest}`),
      {},
      infected.layers[1]?.bytes,
    ),
    await mirror.ask("POST", at(`blobs/uploads/?mount=${infected.layers[1]?.digest}&from=${repository}`)),
  ]) {
    t.equal(answer.status, 403);
    t.match(answer.body.toString(), reason);
  }
  t.equal(
    upstream.count(({ method }) => method !== "GET" && method !== "HEAD"),
    0,
    "upstream has not heard of it",
  );
  t.not((await put(at("manifests/new"), good.manifest)).status, 403, "another image may share layers");
  t.equal(
    (await mirror.ask("DELETE", at(`manifests/${bad.digest}`))).status,
    405,
    "upstream is asked to delete it",
  );
});

t.test("nobody is sent to S3 for it", async (t) => {
  const s3Server = await startS3(t);
  const s3 = { ...s3ConfigOf(s3Server.url), redirectAbove: 100_000 };
  const { mirror, upstream } = await startOne(t, { s3 });
  const [, layer] = bad.layers as unknown as [object, (typeof bad.layers)[0]];
  const path = at(`blobs/${layer.digest}`);
  await mirror.get(at("manifests/bad"));
  await mirror.get(path);
  const isThere = () => [...s3Server.objects.keys()].some((key) => key.endsWith(layer.digest.slice(7)));
  for (let times = 0; times < 1_000 && !isThere(); times++) await mirror.get(path);
  t.ok(isThere());
  const second = await startMirror(t, upstream, { s3 });
  await second.get(at("manifests/bad"));
  t.match(await second.get(path), { status: 307, headers: { location: /^http/ } });
  await block(second.ops, bad.digest);
  t.match(await second.get(path), { status: 403, headers: { location: undefined } });
});

t.test("a list of referrers has nothing that is blocked", async (t) => {
  const { mirror } = await startOne(t);
  await mirror.get(at(`manifests/${good.digest}`));
  const entries = async () => {
    const { status, body } = await mirror.get(at(`referrers/${good.digest}`));
    t.equal(status, 200);
    return (JSON.parse(body.toString()) as { manifests: unknown[] }).manifests.length;
  };
  t.equal(await entries(), 2);
  await blockAll(mirror);
  t.equal(await entries(), 1);
});

t.test("the file of blocked digests counts as it is; one that is broken changes nothing", async (t) => {
  const root = t.testdir({ blocked: `# feed\n${bad.digest} ${reason}\n` });
  const upstream = await startUpstream(t);
  fillUpstream(upstream);
  const path = `${root}/blocked`;
  const digests = new Map([[bad.digest, reason]]);
  const looks = new ManualPause();
  const mirror = await startMirror(t, upstream, {
    cache: { dir: `${root}/cache` },
    block: { file: { path, name: path, digests } },
    pause: looks.pause,
  });
  const status = async (tag: string) => (await mirror.get(at(`manifests/${tag}`))).status;
  t.equal(await status("bad"), 403);
  t.equal((await unblock(mirror.ops, bad.digest)).status, 409, "no command ends it");
  t.equal((await block(mirror.ops, bad.digest)).status, 200);
  t.match((await unblock(mirror.ops, bad.digest)).said, { stillInFile: true });
  t.equal(await status("bad"), 403);
  const told = async (says: (line: Line) => boolean): Promise<Line> => {
    await eventually("it is told", () => {
      looks.elapse();
      return mirror.lines.some(says);
    });
    return await mirror.line(says);
  };
  await writeFile(path, `${good.digest}\n`);
  await told(({ msg, digest }) => msg === "a digest is blocked" && digest === good.digest);
  t.equal(await status("bad"), 200);
  t.equal(await status("good"), 403);
  await writeFile(path, "sha256:short\n");
  const { msg } = await told(({ problem }) => String(problem).includes("line 1"));
  t.match(msg, /cannot be used: those read before stay/);
  t.equal(await status("good"), 403);
  const ready = await (await fetch(new URL("/readyz", mirror.ops))).text();
  t.match(ready, /block file failed: .*line 1.*\(not required\)/);
  const listed = (await (await fetch(new URL("/api/v1/blocks", mirror.ops))).json()) as BlocksReport;
  t.match(listed, { blocks: [{ digest: good.digest, origin: "file", blockedAt: null }] });
});

t.test("what is blocked stays so over a restart, and says who asked for it", async (t) => {
  const root = t.testdir();
  const upstream = await startUpstream(t);
  fillUpstream(upstream);
  const start = () => startMirror(t, upstream, { cache: { dir: root } });
  const first = await start();
  t.equal((await block(first.ops, "sha256:none")).status, 400);
  t.equal((await block(first.ops, bad.digest, " ")).status, 400);
  t.equal((await unblock(first.ops, bad.digest)).status, 404);
  await first.get(at("manifests/bad"));
  t.match((await block(first.ops, bad.digest)).said, { nodes: [{ name: "mirror", state: "done" }] });
  t.ok(
    first.lines.some(
      ({ event, about, outcome }) => event === "audit" && outcome === "done" && String(about) === bad.digest,
    ),
  );
  t.match(await first.line(({ msg }) => msg === "a digest is blocked"), {
    digest: bad.digest,
    reason,
    node: "mirror",
  });
  await first.app.stop();
  const second = await start();
  t.equal((await second.get(at("manifests/bad"))).status, 403);
  t.equal((await second.get(at(`blobs/${bad.layers[2]?.digest}`))).status, 403);
  const listed = blocksSchema.parse(await (await fetch(new URL("/api/v1/blocks", second.ops))).json());
  t.match(listed, {
    blocks: [{ digest: bad.digest, reason, origin: "command", node: "mirror", knownParts: 4 }],
  });
});

// ---- several nodes ------------------------------------------------------------------------------------------------

async function startNodes(t: Test) {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const upstream = await startUpstream(t);
  fillUpstream(upstream);
  const names = ["a", "b", "c"] as const;
  const ports: number[] = [];
  for (const _ of names) ports.push(await freePort());
  const nodes = ports.map((port) => `http://127.0.0.1:${port}`);
  const root = t.testdir({ a: {}, b: {}, c: {} });
  const start = (at: 0 | 1 | 2): Promise<Mirror> =>
    startMirror(t, upstream, {
      node: { name: names[at], address: nodes[at], secret },
      nodes,
      port: ports[at] as number,
      cache: { dir: `${root}/${names[at]}` },
      tags: { ttl: 3_600_000 },
    });
  const mirrors = [await start(0), await start(1), await start(2)] as const;
  for (const mirror of mirrors) await acquainted(mirror);
  return { upstream, mirrors, start };
}

/** Until the node has heard of all three. */
async function acquainted(mirror: Mirror): Promise<void> {
  for (let times = 0; times < 500; times++) {
    const answer = await fetch(new URL("/api/v1/datacenter", mirror.ops));
    if (((await answer.json()) as DatacenterDocument).totals.nodes === 3) return;
    mock.timers.tick(5_000);
  }
  throw new Error("the nodes did not hear of each other");
}

/** Names of the nodes that have confirmed it: all. On a busy machine one may count as away for a moment, and is asked again. */
async function blockByAll(ops: URL, digest: string): Promise<readonly string[]> {
  for (let attempt = 1; ; attempt++) {
    const { nodes = [] } = (await block(ops, digest)).said;
    if (nodes.every(({ state }) => state === "done") || attempt === 10) return nodes.map(named);
  }
}

function named({ name, state }: { readonly name: string; readonly state: string }): string {
  return state === "done" ? name : `${name} ${state}`;
}

t.test("three nodes refuse what is blocked on one of them, before that is said to be done", async (t) => {
  const { mirrors } = await startNodes(t);
  const [a, b, c] = mirrors;
  // Each node has another part of it.
  await warmUp(a.url);
  for (const { digest } of good.layers) await b.get(at(`blobs/${digest}`));
  for (const digest of blockedDigests) t.same(await blockByAll(b.ops, digest), ["b", "a", "c"]);
  t.same(await leaks([a.url, b.url]), []);
  for (const mirror of [a, b, c]) await served(t, mirror);
  t.same(await leaks([c.url]), []);
  for (const digest of blockedDigests)
    t.match((await unblock(c.ops, digest)).said.nodes, [
      { state: "done" },
      { state: "done" },
      { state: "done" },
    ]);
  for (const mirror of mirrors) t.same(await notGiven(mirror), []);
});

t.test("a node knows from others which layers are refused, and which are not", async (t) => {
  const { mirrors } = await startNodes(t);
  const [a, b, c] = mirrors;
  // HAProxy sends each digest to another node: a has the manifests, b and c have layers.
  for (const tag of ["bad", "good"]) await a.get(at(`manifests/${tag}`));
  const [shared, own] = bad.layers as unknown as [(typeof bad.layers)[0], (typeof bad.layers)[0]];
  for (const { digest } of [shared, own]) t.equal((await b.get(at(`blobs/${digest}`))).status, 200);
  await block(c.ops, bad.digest);
  for (const mirror of mirrors) {
    mock.timers.tick(20_000);
    await heard(mirror, bad.digest);
  }
  for (const mirror of mirrors) {
    t.equal((await mirror.get(at(`blobs/${own.digest}`))).status, 403);
    t.equal(
      (await mirror.get(at(`blobs/${shared.digest}`))).status,
      200,
      "a knows that another image has it",
    );
  }
});

t.test("a node that was away hears of a block, and of its end, before it serves", async (t) => {
  const { mirrors, start } = await startNodes(t);
  const [a, , c] = mirrors;
  await block(a.ops, infected.digest);
  await c.app.stop();
  const { said } = await block(a.ops, bad.digest);
  t.match(said.nodes, [
    { name: "a", state: "done" },
    { name: "b", state: "done" },
    { name: "c", state: "away" },
  ]);
  await unblock(a.ops, infected.digest);
  const back = await start(2);
  t.equal((await back.get(at("manifests/bad"))).status, 403);
  t.equal((await back.get(at("manifests/infected"))).status, 200);
  t.match(await (await fetch(new URL("/readyz", back.ops))).text(), /^blocks ok \(not required\)$/m);
  await back.app.stop();
  await a.app.stop();
  await mirrors[1].app.stop();
  const alone = await start(2);
  t.equal((await alone.get(at("manifests/bad"))).status, 403, "it has kept it");
  t.match(
    await (await fetch(new URL("/readyz", alone.ops))).text(),
    /^blocks failed: what other nodes have blocked is not known yet.* \(not required\)$/m,
  );
});

/** Until the node knows what belongs to it. */
async function heard(mirror: Mirror, digest: string): Promise<void> {
  for (let times = 0; times < 500; times++) {
    const answer = await fetch(new URL("/api/v1/blocks", mirror.ops));
    const { blocks } = (await answer.json()) as BlocksReport;
    if (blocks.some((each) => each.digest === digest && each.knownParts > 0)) return;
    mock.timers.tick(5_000);
  }
  throw new Error("the node did not hear what belongs to it");
}
