// Three nodes that know each other by a list: any of them answers for all.
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { mock } from "node:test";
import t, { type Test } from "tap";
import { type Digest, digestHex } from "../src/oci/digest.ts";
import type { DatacenterDocument } from "../src/ops/stats/datacenter.ts";
import type { Explanation, Readiness } from "../src/ops/stats/stats-document.ts";
import type { DrillAnswer } from "../src/ports/datacenter/drill.ts";
import type { NodeSummary } from "../src/ports/datacenter/nodes.ts";
import { fixedSecret, Secret } from "../src/ports/secret.ts";
import type { DatacenterSavings } from "../src/telemetry/savings/savings-document.ts";
import { login, namedAccess, rule } from "./fixtures/access.ts";
import { commandLine } from "./fixtures/command-line.ts";
import { parseExposition } from "./fixtures/exposition.ts";
import { type Image, makeImage, makeIndex } from "./fixtures/images.ts";
import { ManualClock } from "./fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";
import { askJobs, runJob } from "./fixtures/warm-jobs.ts";
import { freePort } from "./system/fixtures/free-port.ts";

const secret = fixedSecret(new Secret("a secret of all nodes".padEnd(32, "x")));
const names = ["a", "b", "c"] as const;

async function startNodes(t: Test, options: MirrorOptions = {}) {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const clock = new ManualClock();
  const upstream = await startUpstream(t);
  const ports: number[] = [];
  for (const _ of names) ports.push(await freePort());
  const nodes = ports.map((port) => `http://127.0.0.1:${port}`);
  const root = t.testdir({ a: {}, b: {}, c: {} });
  const mirrors: Mirror[] = [];
  for (const [at, name] of names.entries())
    mirrors.push(
      await startMirror(t, upstream, {
        clock: clock.read,
        node: { name, address: nodes[at], secret },
        nodes,
        port: ports[at] as number,
        cache: { dir: `${root}/${name}` },
        drainDelay: 60_000,
        ...options,
      }),
    );
  return { clock, upstream, mirrors: mirrors as [Mirror, Mirror, Mirror] };
}

async function ask<Answer>({ ops }: Mirror, path: string): Promise<Answer> {
  return (await (await fetch(new URL(path, ops))).json()) as Answer;
}

/** What the node says once `holds` is so; the nodes ask each other again and again. */
async function known(mirror: Mirror, what: string, holds: (document: DatacenterDocument) => boolean) {
  for (let times = 0; times < 500; times++) {
    const document = await ask<DatacenterDocument>(mirror, "/api/v1/datacenter");
    if (holds(document)) return document;
    mock.timers.tick(5_000);
  }
  throw new Error(`did not come about: ${what}`);
}

function fileOf({ directory }: Mirror, digest: Digest): string {
  const hex = digestHex(digest);
  return join(directory, "blobs/sha256", hex.slice(0, 2), hex);
}

/** A node's counter as Prometheus reads it, over all labels but those given. */
async function counter({ ops }: Mirror, name: string, labels: Record<string, string> = {}): Promise<number> {
  const families = parseExposition(await (await fetch(new URL("/metrics", ops))).text());
  const samples = families.get(name)?.samples ?? [];
  return samples
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0);
}

async function sumOf(mirrors: readonly Mirror[], ...of: [name: string, labels?: Record<string, string>]) {
  const values = await Promise.all(mirrors.map((mirror) => counter(mirror, ...of)));
  return values.reduce((sum, value) => sum + value, 0);
}

t.test("totals are the sums of the nodes' own counters, whichever is asked", async (t) => {
  const { mirrors, upstream } = await startNodes(t);
  const image = makeImage({ layers: [10_000, 20_000] });
  upstream.addImage("team/app", "1.0", image);
  for (const [at, mirror] of mirrors.entries()) {
    await mirror.get("/v2/team/app/manifests/1.0");
    for (const { digest } of image.layers.slice(0, at)) await mirror.get(`/v2/team/app/blobs/${digest}`);
    for (let i = 0; i <= at; i++) await mirror.get("/v2/team/app/manifests/1.0");
    await mirror.get("/v2/team/app/manifests/none");
  }
  // Of the three layers that clients ask for, each node asks both others; one of them has one.
  const ofNodes = 3 * 2 + 1;
  const requests = 3 + (0 + 1 + 2) + (1 + 2 + 3) + 3 + ofNodes;
  // A node that hears that another has not got a layer looks whether a registry says so.
  const counted = async (name: string, ping: Record<string, string>, labels: Record<string, string> = {}) =>
    (await sumOf(mirrors, name, labels)) - (await sumOf(mirrors, name, { ...labels, ...ping }));
  for (const mirror of mirrors) {
    const { totals, nodes } = await known(
      mirror,
      "all have been heard of",
      ({ totals }) => totals.sinceStart.requests === requests && totals.store.objects === 6,
    );
    t.same(
      nodes.map(({ name, state, self }) => [name, state, self]),
      names.map((name, at) => [name, "up", mirrors[at] === mirror]),
    );
    for (const [result, count] of Object.entries(totals.sinceStart.results))
      t.equal(count, await counted("entrepot_requests_total", { type: "other" }, { result }), result);
    t.ok(totals.sinceStart.results.hit >= 6, "there were some");
    t.equal(totals.sinceStart.sentBytes, await counted("entrepot_response_bytes_total", { route: "ping" }));
    t.equal(totals.sinceStart.fetchedBytes, await sumOf(mirrors, "entrepot_upstream_received_bytes_total"));
    t.ok(totals.sinceStart.fetchedBytes > 30_000, "two layers, each once");
    t.equal(totals.store.usedBytes, await sumOf(mirrors, "entrepot_cache_bytes"));
    t.equal(totals.store.objects, await sumOf(mirrors, "entrepot_cache_objects"));
    const own = await Promise.all(mirrors.map((each) => ask<NodeSummary>(each, "/api/v1/node")));
    t.equal(
      totals.sinceStart.requests,
      own.reduce((sum, { sinceStart }) => sum + sinceStart.requests, 0),
      "what nodes ask each other of themselves is no traffic",
    );
  }
});

t.test("one that drains says so; one that is gone stays listed, and the page shows it", async (t) => {
  const { mirrors, clock } = await startNodes(t);
  const [a, , c] = mirrors;
  await known(a, "all are up", ({ nodes }) => nodes.filter(({ state }) => state === "up").length === 3);
  void c.app.drain();
  const draining = await known(a, "it drains", ({ nodes }) => nodes[2]?.state === "draining");
  t.same(draining.totals.unreachable, 0);
  await c.app.stop();
  clock.advance(16_000);
  const gone = await known(a, "b is heard of again", ({ totals }) => totals.unreachable === 1);
  t.match(gone.nodes[1], { name: "b", state: "up", unreachableSince: null });
  t.match(gone.nodes[2], { name: "c", state: "unreachable", unreachableSince: clock.now - 16_000 });
  const page = await (await fetch(a.ops)).text();
  t.match(page, /<title>a – entrepot<\/title>/);
  t.match(page, /<h1>entrepot <small>a<\/small><\/h1>/);
  t.match(page, /c<\/b>.*unreachable<\/span>, last heard <time/s);
  t.match(await ask(a, "/stats.json"), { node: { name: "a" }, datacenter: { totals: { unreachable: 1 } } });
});

t.test("a node whose name the others do not take says so at its start", async (t) => {
  const upstream = await startUpstream(t);
  const nodes = ["http://127.0.0.1:1"];
  const mirror = await startMirror(t, upstream, {
    node: { name: "dc 1", address: undefined, secret },
    nodes,
  });
  const warnings = mirror.lines.filter(({ msg }) => /"dc 1".*node\.name/.test(String(msg)));
  t.match(warnings, [{ level: "warn" }]);
  t.equal(warnings.length, 1);
});

t.test("an image is here if its parts are, on whichever nodes", async (t) => {
  const { mirrors, upstream, clock } = await startNodes(t);
  const image = makeImage({ layers: [10_000, 20_000] });
  upstream.addImage("team/app", "1.0", image);
  const parts = [image.config, ...image.layers];
  for (const [at, mirror] of mirrors.entries()) {
    await mirror.get("/v2/team/app/manifests/1.0");
    await mirror.get(`/v2/team/app/blobs/${parts[at]?.digest}`);
  }
  const stored = ({ totals }: DatacenterDocument) => totals.store.objects === 6;
  for (const mirror of mirrors) await known(mirror, "each has two of four parts", stored);
  upstream.forget();
  type Explained = Explanation & { kind: "explained" };
  const why = (mirror: Mirror) => ask<Explained>(mirror, "/api/v1/why?reference=team/app:1.0");
  for (const mirror of mirrors)
    t.match(await why(mirror), { summary: /^all of it is here: 4 parts/, silentNodes: [] });
  const [a, b, c] = mirrors;
  const where = (explanation: Explained) =>
    explanation.parts.map((part) => [part.digest, part.where.filter((place) => place !== "memory")]);
  t.strictSame(
    new Map(where(await why(a)) as [string, string[]][]),
    new Map([
      [image.digest, ["disk", "node b", "node c"]],
      [image.config.digest, ["disk"]],
      [image.layers[0]?.digest as string, ["node b"]],
      [image.layers[1]?.digest as string, ["node c"]],
    ]),
  );
  await b.app.stop();
  t.match(await why(c), {
    summary: /^3 of 4 parts here, 20\.\d kB; 10\.0 kB to be fetched; not known of b$/,
    silentNodes: ["b"],
  });
  clock.advance(16_000);
  await known(c, "b counts as gone", ({ totals }) => totals.unreachable === 1);
  t.match(await why(c), { summary: /; not known of b$/, silentNodes: ["b"] });
  t.equal(upstream.requests.length, 0, "upstream was not asked");
});

t.test(
  "what was saved is the sum of all nodes' ledgers, whichever is asked, and says who is missing",
  async (t) => {
    const { mirrors, upstream } = await startNodes(t);
    const image = makeImage({ layers: [10_000] });
    upstream.addImage("team/app", "1.0", image);
    for (const [at, mirror] of mirrors.entries()) {
      for (let i = 0; i <= at; i++) await mirror.get(`/v2/team/app/manifests/${image.digest}`);
      await known(mirror, "all are known", ({ totals }) => totals.nodes === 3);
    }
    const size = image.manifest.length;
    const savings = (mirror: Mirror, query = "") => ask<DatacenterSavings>(mirror, `/api/v1/savings${query}`);
    for (const mirror of mirrors) {
      const document = await savings(mirror);
      t.match(document, {
        silentNodes: [],
        total: { requests: 6, sentBytes: 6 * size, fetchedBytes: 3 * size, savedBytes: 3 * size },
        teams: [{ team: "other", requests: 6 }],
        rows: [{ upstream: "upstream", requests: 6 }],
      });
      t.strictSame(
        document.nodes.map(({ name, self, requests }) => [name, self, requests]),
        names.map((name, at) => [name, mirrors[at] === mirror, at + 1]),
      );
      t.equal(document.total.sentBytes, await sumOf(mirrors, "entrepot_team_sent_bytes_total"));
      t.equal(document.total.fetchedBytes, await sumOf(mirrors, "entrepot_team_fetched_bytes_total"));
    }
    t.match(await savings(mirrors[0], "?month=all"), { month: "all", total: { requests: 6 } });
    await mirrors[1].app.stop();
    t.match(await savings(mirrors[0]), { total: { requests: 4 }, silentNodes: ["b"] });
    const csv = await fetch(new URL("/savings.csv", mirrors[0].ops));
    t.match(csv.headers.get("warning"), /1 nodes that did not answer/);
    t.match(await csv.text(), /,other,upstream,4,/);
  },
);

t.test("a job fetches what clients have pulled from another node, the platforms they pulled", async (t) => {
  const { mirrors, upstream } = await startNodes(t);
  const [a, b] = mirrors;
  const [amd64, arm64] = [
    makeImage({ layers: [10_000], seed: "amd64" }),
    makeImage({ layers: [20_000], seed: "arm64" }),
  ];
  upstream.addIndex("team/app", "1.0", makeIndex([amd64, arm64]));
  upstream.addImage("team/web", "2.0", makeImage({ layers: [5], seed: "web" }));
  const pull = async (mirror: Mirror) => {
    const paths = [
      "manifests/1.0",
      `manifests/${amd64.digest}`,
      ...[amd64.config, ...amd64.layers].map(({ digest }) => `blobs/${digest}`),
    ];
    const answers = await Promise.all(paths.map((path) => mirror.get(`/v2/team/app/${path}`)));
    return answers.map(({ status, complete }) => (complete ? status : 0));
  };
  t.same(await pull(a), [200, 200, 200, 200]);
  await a.get("/v2/team/web/manifests/2.0");
  await known(b, "a is known", ({ totals }) => totals.nodes === 3);
  const job = await runJob(b, { fromNode: "a" });
  t.match(job, { state: "done", sums: { images: 2, imagesDone: 2, imagesLeftOut: 0 } });
  t.same(job.images.map(({ image }) => image).sort(), ["upstream/team/app:1.0", "upstream/team/web:2.0"]);
  t.equal(upstream.count({ kind: "manifest", reference: arm64.digest }), 0, "nobody has pulled it");
  t.same(b.lines.find(({ event }) => event === "audit")?.about, ["node a"]);
  upstream.forget();
  const again = await runJob(b, { fromNode: "a", days: 1, platforms: ["linux/arm64"] });
  t.match(again, { state: "done" }, "the platforms of the command count more");
  t.equal(upstream.count({ kind: "manifest", reference: arm64.digest }), 1);
  t.equal(
    upstream.count({ reference: amd64.layers[0]?.digest as string }),
    0,
    "and what is here is not fetched again",
  );
  await upstream.stop();
  t.same(await pull(b), [200, 200, 200, 200], "with the registry gone");
});

t.test("a job of another node says why there is none", async (t) => {
  const { mirrors, clock } = await startNodes(t);
  const [a, b] = mirrors;
  await known(b, "a is known", ({ totals }) => totals.nodes === 3);
  const begin = async (body: object) => {
    const { status, text } = await askJobs(b, "POST", "", body);
    return [status, (JSON.parse(text) as { error: { message: string } }).error.message] as const;
  };
  t.match(await begin({ fromNode: "x" }), [
    400,
    'fromNode: found "x", expected another node of this datacenter: a, c',
  ]);
  t.match(await begin({ fromNode: "b" }), [400, /expected another node/], "itself is none");
  t.match(await begin({ fromNode: "a", images: ["team/app"] }), [400, /either images or fromNode/]);
  t.match(await begin({ days: 7, images: ["team/app"] }), [400, /^days: expected fromNode/]);
  t.match(await begin({ fromNode: "a", days: 366 }), [400, /^days: /]);
  t.match(await begin({}), [400, /either images or fromNode/]);
  await a.app.stop();
  t.match(await begin({ fromNode: "a" }), [
    503,
    /^node a does not tell what was pulled from it: .*ECONNREFUSED/,
  ]);
  clock.advance(16_000);
  await known(b, "a counts as gone", ({ totals }) => totals.unreachable === 1);
  t.match(await begin({ fromNode: "a" }), [503, "node a is unreachable, or says no address"]);
});

t.test("the catalog of any node has the repositories of all, in order and in pages", async (t) => {
  const { mirrors, upstream, clock } = await startNodes(t);
  const image = makeImage({ layers: [] });
  const repositories = ["a/1", "b/2", "b/3", "c/4", "d/5", "e/6", "f/7"];
  for (const [at, name] of repositories.entries()) {
    upstream.addImage(name, "1.0", image);
    await mirrors[at % 3]?.get(`/v2/${name}/manifests/1.0`);
  }
  await mirrors[2].get("/v2/b/2/manifests/1.0");
  for (const mirror of mirrors) {
    await known(mirror, "all are known", ({ totals }) => totals.nodes === 3);
    for (const size of [1, 2, 3, 100]) {
      const listed: string[] = [];
      let next: string | undefined = `/v2/_catalog?n=${size}`;
      while (next !== undefined) {
        const { body, headers } = await mirror.get(next);
        const page = (JSON.parse(body.toString()) as { repositories: string[] }).repositories;
        t.ok(page.length > 0 && page.length <= size);
        listed.push(...page);
        t.equal(headers.warning, undefined);
        next = /^<([^>]+)>/.exec(headers.link ?? "")?.[1];
      }
      t.same(listed, repositories, `${size} in a page`);
    }
  }
  await mirrors[1].app.stop();
  const { headers, body } = await mirrors[0].get("/v2/_catalog");
  t.match(headers.warning, /"without all repositories of 1 nodes that did not answer"/);
  t.same(JSON.parse(body.toString()), { repositories: ["a/1", "b/2", "b/3", "c/4", "e/6", "f/7"] });
  clock.advance(16_000);
  await known(mirrors[0], "b counts as gone", ({ totals }) => totals.unreachable === 1);
  t.equal((await mirrors[0].get("/v2/_catalog")).headers.warning, headers.warning, "it is missing still");
});

t.test("where callers need rights, nodes still tell each other of their repositories", async (t) => {
  const { mirrors, upstream } = await startNodes(t, {
    access: namedAccess({ all: "1", few: "2" }, [
      rule({ users: ["all"] }),
      rule({ users: ["few"], repositories: ["a/**"] }),
    ]),
  });
  for (const [at, name] of ["a/1", "b/2", "c/3"].entries()) {
    upstream.addImage(name, "1.0", makeImage({ layers: [] }));
    await mirrors[at]?.get(`/v2/${name}/manifests/1.0`, login("all", "1"));
  }
  for (const mirror of mirrors) {
    await known(mirror, "all are known", ({ totals }) => totals.nodes === 3);
    const all = await mirror.get("/v2/_catalog", login("all", "1"));
    t.equal(all.headers.warning, undefined);
    t.same(JSON.parse(all.body.toString()), { repositories: ["a/1", "b/2", "c/3"] });
    const few = await mirror.get("/v2/_catalog", login("few", "2"));
    t.same(JSON.parse(few.body.toString()), { repositories: ["a/1"] });
  }
});

t.test("only a node is told anything", async (t) => {
  const { mirrors } = await startNodes(t);
  const [a] = mirrors;
  for (const path of [
    "/node/v1/summary",
    "/node/v1/holding?digests=",
    "/node/v1/repositories",
    "/node/v1/",
    "/node/v1/nothing",
  ])
    for (const headers of [
      {},
      { "entrepot-node": "b" },
      { "entrepot-node": "b", "entrepot-node-proof": "1.x" },
    ])
      t.equal((await a.get(path, headers)).status, 404, path);
  t.equal((await a.ask("POST", "/node/v1/summary", {}, Buffer.from("x"))).status, 404);
});

t.test("readiness is of the datacenter: what was pulled through any node, and is on any disk", async (t) => {
  const { mirrors, upstream, clock } = await startNodes(t);
  const [a, b, c] = mirrors;
  const [amd64, arm64] = [makeImage({ layers: [10_000, 20_000] }), makeImage({ layers: [500], seed: "arm" })];
  const index = makeIndex([amd64, arm64]);
  const only = makeImage({ layers: [7_000], seed: "only through b" });
  upstream.addIndex("team/app", "1.0", index);
  upstream.addImage("team/tool", "2.0", only);
  const [first, second] = amd64.layers as [Image["layers"][0], Image["layers"][0]];
  const [layer] = only.layers as [Image["layers"][0]];
  // As behind a balancer that sends each digest to a node of its own.
  await a.get("/v2/team/app/manifests/1.0");
  await b.get(`/v2/team/app/manifests/${amd64.digest}`);
  await c.get(`/v2/team/app/blobs/${amd64.config.digest}`);
  await a.get(`/v2/team/app/blobs/${first.digest}`);
  await b.get(`/v2/team/app/blobs/${second.digest}`);
  await b.get("/v2/team/tool/manifests/2.0");
  for (const { digest } of [only.config, layer]) await c.get(`/v2/team/tool/blobs/${digest}`);
  for (const mirror of mirrors)
    await known(mirror, "all is stored", ({ totals }) => totals.store.objects === 8);
  upstream.forget();
  const readiness = (mirror: Mirror) => ask<Readiness>(mirror, "/api/v1/readiness?days=7");
  const all = { nodes: 3, pulled: 2, ready: 2, silentNodes: [], unready: [] };
  for (const mirror of mirrors) t.match(await readiness(mirror), all);

  await unlink(fileOf(b, second.digest));
  const missing = { kind: "missing", digest: second.digest, platform: "linux/amd64", sizeBytes: 20_000 };
  for (const mirror of mirrors)
    t.match(await readiness(mirror), {
      ...{ nodes: 3, pulled: 2, ready: 1 },
      unready: [{ digest: index.digest, names: ["upstream/team/app:1.0"], obstacles: [missing] }],
    });
  t.equal(upstream.requests.length, 0, "upstream was not asked");

  const fixed = commandLine(["readiness", "--fix", "--ops", a.ops.host]);
  t.equal(await fixed.exit, 0, fixed.err());
  t.match(
    fixed.out(),
    /^1 of 2 images pulled through 3 nodes in 7 days could be pulled now without upstream\n/,
  );
  t.match(
    fixed.out(),
    /2 of 2 images pulled through 3 nodes in 7 days could be pulled now without upstream\n$/,
  );
  t.equal(upstream.count({ kind: "blob", reference: second.digest }), 1);
  t.equal(upstream.count({ reference: arm64.layers[0]?.digest as string }), 0, "nobody pulls that platform");
  for (const mirror of mirrors) t.match(await readiness(mirror), all);

  // The nodes that know the tags, and whoever is asked for a digest of theirs.
  await upstream.stop();
  const pulls = [
    [[a, c], "team/app", "1.0", amd64],
    [[b], "team/tool", "2.0", only],
  ] as const;
  for (const [through, repository, tag, { digest, manifest, config, layers }] of pulls) {
    t.equal((await through[0].get(`/v2/${repository}/manifests/${tag}`)).status, 200);
    const parts = [...layers, config].map((blob) => [`blobs/${blob.digest}`, blob.bytes] as const);
    for (const [path, bytes] of [[`manifests/${digest}`, manifest] as const, ...parts])
      for (const each of through) {
        const { status, body } = await each.get(`/v2/${repository}/${path}`);
        t.equal(status, 200, `${repository} ${path}`);
        t.ok(body.equals(bytes));
      }
  }

  await b.app.stop();
  const without = await readiness(c);
  t.match(without, { nodes: 2, pulled: 1, silentNodes: ["b"] }, "what b alone was asked for is not known");
  t.equal(
    await commandLine(["readiness", "--ops", a.ops.host]).exit,
    1,
    "so it is not said that all are ready",
  );
  clock.advance(16_000);
  await known(c, "b counts as gone", ({ totals }) => totals.unreachable === 1);
  t.match(await readiness(c), { nodes: 2, silentNodes: ["b"] });
});

t.test("a drill is on at all nodes, and over at all nodes, wherever that is asked for", async (t) => {
  const { mirrors, upstream, clock } = await startNodes(t, { trustedProxies: ["127.0.0.1"] });
  const [a, b, c] = mirrors;
  upstream.addImage("team/app", "1.0", makeImage({ layers: [] }));
  const client = { "x-forwarded-for": "10.1.2.3" };
  const isOn = (mirror: Mirror) =>
    ask<DrillAnswer>(mirror, "/api/v1/drill").then(({ drill }) => drill !== null);
  const all = async (on: boolean) => {
    for (const mirror of mirrors)
      for (let times = 0; (await isOn(mirror)) !== on; times++) {
        if (times === 500) throw new Error(`a node has not heard that a drill is ${on ? "on" : "over"}`);
        mock.timers.tick(5_000);
      }
  };
  await known(a, "all are known", ({ totals }) => totals.nodes === 3);
  t.equal(await commandLine(["drill", "--clients", "10.1.0.0/16", "--ops", a.ops.host]).exit, 0);
  await all(true);
  for (const mirror of mirrors)
    t.equal(
      (await mirror.get("/v2/team/app/manifests/1.0", client)).status,
      502,
      "for its clients everywhere",
    );
  t.match(await ask<DrillAnswer>(c, "/api/v1/drill"), { drill: { node: "a", clients: ["10.1.0.0/16"] } });
  t.equal(upstream.count({ repository: "team/app" }), 0);
  t.equal(await commandLine(["drill", "--stop", "--ops", b.ops.host]).exit, 0);
  await all(false);
  for (const mirror of mirrors) t.equal((await mirror.get("/v2/team/app/manifests/1.0", client)).status, 200);
  await commandLine(["drill", "--clients", "10.1.0.0/16", "--for", "1m", "--ops", c.ops.host]).exit;
  await all(true);
  clock.advance(60_000);
  for (const mirror of mirrors) t.equal(await isOn(mirror), false, "it ends by itself on each");
});
