// A mirror in front of a mirror in front of a mirror, in this process: each says what it did.
import { join } from "node:path";
import t, { type Test } from "tap";
import { makeImage } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { mirrorOf } from "../fixtures/mirror-chain.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000, 10] });
const [layer] = image.layers as [(typeof image.layers)[0]];

const miss = "entrepot; fwd=uri-miss";
/** A part of a blob on its way. */
const unverified = `${miss}; detail=unverified`;
const hit = "entrepot; hit; ttl=60; detail=memory";

interface Row {
  readonly far: ScriptedUpstream;
  readonly headquarters: Mirror;
  readonly region: Mirror;
  readonly datacenter: Mirror;
  /** Another one in front of the same region. */
  readonly neighbour: Mirror;
  readonly wait: (milliseconds: number) => void;
}

async function startRow(t: Test): Promise<Row> {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const far = await startUpstream(t, { anonymous: true });
  far.addImage("team/app", "1", image);
  const base = t.testdir();
  const start = (name: string, url: URL): Promise<Mirror> =>
    mirrorOf(t, url, join(base, name), { clock: () => now });
  const headquarters = await start("headquarters", far.url);
  const region = await start("region", headquarters.url);
  const datacenter = await start("datacenter", region.url);
  const neighbour = await start("neighbour", region.url);
  const wait = (milliseconds: number): void => {
    now += milliseconds;
  };
  return { far, headquarters, region, datacenter, neighbour, wait };
}

async function status(mirror: Mirror, path: string, headers?: Record<string, string>) {
  return (await mirror.get(`/v2/team/app/${path}`, headers)).headers["cache-status"];
}

/** Of the last request for content: how it wants to be asked is each mirror's own question. */
function viaOfLast({ requests }: ScriptedUpstream): string | undefined {
  const via = requests.findLast(({ kind }) => kind !== "ping")?.headers.via;
  return typeof via === "string" ? via : undefined;
}

t.test("Via at the registry names all three, the nearest to the client first", async (t) => {
  const { far, headquarters, region, datacenter } = await startRow(t);
  const own: string[] = [];
  for (const [at, mirror] of [headquarters, region, datacenter].entries()) {
    const answer = await mirror.get(`/v2/team/app/manifests/only-${at}`);
    t.equal(answer.status, 404, "and nothing is wrong with that");
    t.equal(answer.headers["cache-status"], undefined, "errors are made here, not cached");
    own.push(viaOfLast(far)?.split(", ")[0] ?? "");
  }
  t.equal(new Set(own).size, 3);
  const [first, second, third] = own;
  await datacenter.get("/v2/team/app/manifests/1", { via: "1.0 laptop (mine), 2 balancer" });
  t.equal(viaOfLast(far), `1.0 laptop, 2 balancer, ${third}, ${second}, ${first}`);
  await datacenter.get(`/v2/team/app/blobs/${layer.digest}`);
  t.equal(viaOfLast(far), `${third}, ${second}, ${first}`);
});

t.test("Cache-Status of a tag has a member of each that was asked, this one last", async (t) => {
  const { far, region, datacenter, neighbour, wait } = await startRow(t);
  far.fault(({ kind }) => (kind === "manifest" ? { headers: { "cache-status": "Far; hit" } } : undefined));
  t.equal(await status(datacenter, "manifests/1"), `Far; hit, ${miss}, ${miss}, ${miss}`);
  t.equal(
    await status(datacenter, "manifests/1"),
    hit,
    "what was said of the first pull is not true of this one",
  );
  t.equal(await status(neighbour, "manifests/1"), `${hit}, ${miss}`);
  wait(20_000);
  const later = "entrepot; hit; ttl=40; detail=memory";
  t.equal(await status(region, "manifests/1"), later);
  t.equal(await status(region, "manifests/1", { "if-none-match": `"${image.digest}"` }), later, "304");
  wait(40_000);
  const confirmed = "entrepot; fwd=stale; fwd-status=200; detail=unchanged";
  t.equal(await status(datacenter, "manifests/1"), `Far; hit, ${confirmed}, ${confirmed}, ${confirmed}`);
  const moved = makeImage({ layers: [10], seed: "moved" });
  far.addImage("team/app", "1", moved);
  wait(60_000);
  t.equal((await datacenter.get("/v2/team/app/manifests/1")).headers["docker-content-digest"], moved.digest);
});

t.test("Cache-Status of blobs, listings and what is asked for by digest", async (t) => {
  const { datacenter, neighbour, region } = await startRow(t);
  const byDigest = `manifests/${image.digest}`;
  t.equal(await status(datacenter, byDigest), `${miss}, ${miss}, ${miss}`);
  t.equal(await status(datacenter, byDigest), "entrepot; hit; detail=memory", "a digest has no time to live");
  const blob = `blobs/${layer.digest}`;
  const head = await datacenter.ask("HEAD", `/v2/team/app/${blob}`);
  t.equal(head.headers["cache-status"], `${miss}, ${miss}, ${miss}`);
  const first = await datacenter.get(`/v2/team/app/${blob}`, { range: "bytes=0-9" });
  t.equal(first.status, 206);
  t.equal(first.headers["cache-status"], `${unverified}, ${unverified}, ${unverified}`);
  for (const mirror of [datacenter, region]) await mirror.line(({ msg }) => msg === "fill committed");
  t.match(await status(datacenter, blob), /^entrepot; hit; detail=(disk|memory)$/);
  t.match(await status(neighbour, blob), /^entrepot; hit; detail=(disk|memory), entrepot; fwd=uri-miss$/);
  t.equal(await status(datacenter, "tags/list"), `${miss}, ${miss}, ${miss}`);
  t.equal(await status(datacenter, "tags/list"), "entrepot; hit; ttl=10; detail=memory");
  const catalog = await datacenter.get("/v2/_catalog");
  t.equal(catalog.status, 200);
  t.notOk(catalog.headers["cache-status"], "made here");
  t.equal((await datacenter.get("/v2/team/app/blobs/x")).headers["cache-status"], undefined);
});

t.test("Cache-Status can be switched off", async (t) => {
  const far = await startUpstream(t, { anonymous: true });
  far.addImage("team/app", "1", image);
  far.fault(() => ({ headers: { "cache-status": "Far; hit" } }));
  const mirror = await startMirror(t, far, { cacheStatus: false });
  for (const path of ["manifests/1", "manifests/1", `blobs/${layer.digest}`, "tags/list"]) {
    t.equal(await status(mirror, path), undefined, path);
  }
});

t.test("a stale tag says so through the whole row, and its age does not add up", async (t) => {
  const { far, datacenter, wait } = await startRow(t);
  await datacenter.get("/v2/team/app/manifests/1");
  await far.stop();
  wait(100_000);
  const { status, headers } = await datacenter.get("/v2/team/app/manifests/1");
  t.equal(status, 200);
  t.equal(headers.age, "100");
  const confirmed = "entrepot; fwd=stale; fwd-status=200; detail=unchanged";
  t.equal(headers["cache-status"], `entrepot; hit; ttl=-40; detail=unreachable, ${confirmed}, ${confirmed}`);
});

t.test("a list of tags is as old as where it was made", async (t) => {
  const { far, region, datacenter, wait } = await startRow(t);
  await region.get("/v2/team/app/tags/list");
  wait(7_000);
  t.equal((await datacenter.get("/v2/team/app/tags/list")).headers.age, "7");
  wait(3_000);
  const answer = await datacenter.get("/v2/team/app/tags/list");
  t.equal(answer.headers.age, "0");
  t.equal(far.count({ kind: "tags" }), 2);
});
