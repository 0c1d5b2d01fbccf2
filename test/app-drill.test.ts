// A drill: for some clients every upstream counts as away, and the others notice nothing of it.
import t, { type Test } from "tap";
import type { Readiness, StatsDocument } from "../src/ops/stats/stats-document.ts";
import type { Notice } from "../src/ports/event.ts";
import { login, namedAccess, rule } from "./fixtures/access.ts";
import { parseExposition, sampleOf } from "./fixtures/exposition.ts";
import { makeImage } from "./fixtures/images.ts";
import { eventually, gate, ManualClock } from "./fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { startPassthrough } from "./fixtures/passthrough.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [50_000] });
const other = makeImage({ layers: [600_000], seed: "other" });
const at = (rest: string) => `/v2/team/app/${rest}`;
const drilled = { "x-forwarded-for": "10.1.2.3" };
const usual = { "x-forwarded-for": "10.9.9.9" };
const tags = { ttl: 60_000, staleIfError: 3_600_000, staleWhileRevalidate: 0, refreshAhead: 0, rules: [] };

async function start(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", image);
  upstream.addImage("team/app", "2.0", other);
  const clock = new ManualClock();
  const mirror = await startMirror(t, upstream, {
    ...{ clock: clock.read, trustedProxies: ["127.0.0.1"], tags },
    ...options,
  });
  return { upstream, clock, mirror };
}

/** A client has a blob before it is stored. */
async function stored({ ops }: Mirror): Promise<void> {
  for (;;) {
    const answer = await fetch(new URL("/api/v1/readiness?days=7", ops));
    const { pulled, ready } = (await answer.json()) as Readiness;
    if (pulled > 0 && ready === pulled) return;
  }
}

async function drill({ ops }: Mirror, method: string, body?: object) {
  const answer = await fetch(new URL("/api/v1/drill", ops), {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}

const begun = { clients: ["10.1.0.0/16"], durationMs: 600_000 };

t.test(
  "chosen clients have what is here, stale, and errors for the rest; nothing of theirs goes upstream",
  async (t) => {
    const { upstream, clock, mirror } = await start(t);
    await mirror.get(at("manifests/1.0"), usual);
    for (const { digest } of [image.config, ...image.layers]) await mirror.get(at(`blobs/${digest}`), usual);
    await mirror.get(at("tags/list"), usual);
    await stored(mirror);
    t.match(await drill(mirror, "GET"), { status: 200, body: { drill: null } });
    const startedAt = clock.now;
    t.match(await drill(mirror, "POST", begun), {
      status: 201,
      body: { drill: { clients: ["10.1.0.0/16"], startedAt, endsAt: startedAt + 600_000, node: "mirror" } },
    });
    t.match(await mirror.line(({ event }) => event === "audit"), { path: "/api/v1/drill", outcome: "done" });
    clock.advance(61_000);
    upstream.forget();
    const stale = await mirror.get(at("manifests/1.0"), drilled);
    t.match(stale, { status: 200, body: image.manifest, headers: { warning: /stale tag.*\(drill\)/ } });
    for (const { digest, bytes } of [image.config, ...image.layers])
      t.match(await mirror.get(at(`blobs/${digest}`), drilled), { status: 200, body: bytes });
    t.match(await mirror.get(at("tags/list"), drilled), { status: 200, headers: { warning: /drill/ } });
    for (const path of ["manifests/2.0", `manifests/${other.digest}`, `blobs/${other.config.digest}`]) {
      t.match(await mirror.get(at(path), drilled), { status: 502, body: /./ }, path);
      t.match(await mirror.ask("HEAD", at(path), drilled), { status: 502 }, `HEAD ${path}`);
    }
    t.match((await mirror.get(at("manifests/2.0"), drilled)).body.toString(), /a drill is on/);
    t.equal(upstream.requests.length, 0, "nothing of theirs went upstream");
    t.match(await mirror.line(({ status }) => status === 502), { drill: true, detail: "drill" });

    const confirmed = await mirror.get(at("manifests/1.0"), usual);
    t.match(confirmed, { status: 200, headers: { warning: undefined } }, "others notice nothing");
    t.match(await mirror.get(at("manifests/2.0"), usual), { status: 200 });
    t.equal(upstream.count({ kind: "manifest", reference: "1.0" }), 1);

    const stats = (await (await fetch(new URL("/api/v1/stats", mirror.ops))).json()) as StatsDocument;
    t.match(stats, { drill: { clients: ["10.1.0.0/16"] }, upstreams: [{ circuit: "closed", errors: 0 }] });
    t.match(stats.verdict.reasons.join(), /a drill is on for 10\.1\.0\.0\/16: .* for 9 min/);
    const active = async () =>
      sampleOf(
        parseExposition(await (await fetch(new URL("/metrics", mirror.ops))).text()),
        "entrepot_drill_active",
        {},
      );
    t.equal(await active(), 1);

    clock.advance(540_000);
    t.match(await drill(mirror, "GET"), { body: { drill: null } }, "it ends by itself");
    t.equal(await active(), 0);
    t.match(await mirror.get(at("manifests/2.0"), drilled), { status: 200, headers: { warning: undefined } });
  },
);

t.test("questions and downloads of others are neither joined nor spoiled", async (t) => {
  const { upstream, mirror } = await start(t);
  await drill(mirror, "POST", begun);
  const [layer] = other.layers as [(typeof other.layers)[0]];
  await mirror.get(at("manifests/2.0"), usual);
  const held = gate();
  upstream.fault(({ reference }) =>
    reference === layer.digest ? { stallAfter: 100_000, releaseOn: held.opened } : undefined,
  );
  const download = mirror.get(at(`blobs/${layer.digest}`), usual);
  await eventually("the download has begun", () => upstream.count({ reference: layer.digest }) > 0);
  t.match(await mirror.get(at(`blobs/${layer.digest}`), drilled), { status: 502 }, "it comes from upstream");
  held.open();
  t.match(await download, { status: 200, complete: true, body: layer.bytes });
  const [one, two] = await Promise.all([
    mirror.get(at("manifests/1.0"), drilled),
    mirror.get(at("manifests/1.0"), usual),
  ]);
  t.same([one.status, two.status], [502, 200]);
});

t.test("it is stopped before its time, replaced, and wrong ones are refused", async (t) => {
  const { mirror } = await start(t);
  t.match(await drill(mirror, "DELETE"), { status: 404 });
  await drill(mirror, "POST", begun);
  t.match(await mirror.get(at("manifests/1.0"), drilled), { status: 502 });
  await drill(mirror, "POST", { clients: ["10.9.9.9"], durationMs: 60_000 });
  t.match(await mirror.get(at("manifests/1.0"), drilled), { status: 200 });
  t.match(await mirror.get(at("manifests/2.0"), usual), { status: 502 });
  t.match(await drill(mirror, "DELETE"), { status: 200, body: { drill: null } });
  t.match(await mirror.get(at("manifests/2.0"), usual), { status: 200 });
  for (const wrong of [
    {},
    { clients: [], durationMs: 60_000 },
    { clients: ["10.0.0.0/99"], durationMs: 60_000 },
    { clients: ["here"], durationMs: 60_000 },
    { clients: ["10.0.0.0/8"], durationMs: 3_600_001 },
    { clients: ["10.0.0.0/8"], durationMs: 0 },
  ])
    t.match(await drill(mirror, "POST", wrong), { status: 400 }, JSON.stringify(wrong));
  const foreign = await fetch(new URL("/api/v1/drill", mirror.ops), {
    method: "POST",
    body: JSON.stringify(begun),
  });
  t.equal(foreign.status, 403, "as a page of another site would send it");
});

t.test("where the upstream says who may read, it is not asked for those in a drill", async (t) => {
  const { upstream, mirror } = await startPassthrough(
    t,
    { ann: { password: "a", reads: ["team/app"] } },
    {
      trustedProxies: ["127.0.0.1"],
    },
  );
  upstream.addImage("team/app", "1.0", image);
  await drill(mirror, "POST", begun);
  const authorization = `Basic ${Buffer.from("ann:a").toString("base64")}`;
  upstream.forget();
  t.match(await mirror.get(at("manifests/1.0"), { ...drilled, authorization }), { status: 502 });
  t.match(await mirror.get("/v2/", { ...drilled, authorization }), { status: 502 });
  t.equal(upstream.requests.length, 0);
});

t.test("a tag that only clients in a drill ask for is not confirmed ahead of them", async (t) => {
  const { upstream, clock, mirror } = await start(t, { tags: { ...tags, refreshAhead: 0.5 } });
  const asked = async (by: Record<string, string>) => {
    await mirror.get(at("manifests/2.0"), usual);
    return await mirror.get(at("manifests/1.0"), by);
  };
  const confirmed = async (): Promise<number> => {
    const text = await (await fetch(new URL("/metrics", mirror.ops))).text();
    const labels = { when: "ahead", result: "confirmed", upstream: "upstream" };
    return sampleOf(parseExposition(text), "entrepot_tag_refreshes_total", labels) ?? 0;
  };
  /** Most of a time to live with three requests, then what is confirmed ahead: as many as that so far. */
  const goOn = async (by: Record<string, string>, count: number): Promise<void> => {
    for (let third = 1; third <= 3; third++) {
      clock.advance(19_500);
      t.match(await asked(by), { status: 200, headers: { warning: undefined } });
    }
    while ((await confirmed()) < count);
  };
  for (let thirds = 0; thirds <= 8; thirds++) {
    if (thirds > 0) clock.advance(20_000);
    await asked(usual);
  }
  clock.advance(18_500);
  await asked(usual);
  while ((await confirmed()) < 2);
  await drill(mirror, "POST", begun);
  await goOn(drilled, 4);
  upstream.forget();
  await goOn(drilled, 5);
  t.equal(upstream.count({ reference: "2.0" }), 1, "others ask for this one");
  clock.advance(2_000);
  t.match(await asked(drilled), { status: 200, headers: { warning: /stale tag.*\(drill\)/ } });
  t.equal(upstream.count({ reference: "1.0" }), 0);
});

t.test("an image without its layers is refused to them, and upstream has not failed", async (t) => {
  const notices: Notice[] = [];
  const sink = { name: "test", onNotice: (notice: Notice) => void notices.push(notice) };
  const { mirror } = await start(t, { manifestsWithoutLayers: "refuse", sinks: [sink] });
  await mirror.get(at("manifests/1.0"), usual);
  await drill(mirror, "POST", begun);
  t.match(await mirror.get(at("manifests/1.0"), drilled), { status: 502, body: /./ });
  await mirror.line(({ detail }) => detail === "layers_missing");
  t.same(
    notices.filter(({ kind }) => kind === "upstream_error"),
    [],
  );
});

t.test("proofs last no longer for those who are not in the drill, with the same credentials", async (t) => {
  const clock = new ManualClock();
  const ann = { password: "a", reads: ["team/app"] as readonly string[] };
  const users = { ann };
  const { upstream, mirror } = await startPassthrough(t, users, {
    trustedProxies: ["127.0.0.1"],
    clock: clock.read,
    steady: clock.read,
  });
  upstream.addImage("team/app", "1.0", image);
  const { authorization } = login("ann", "a");
  const layer = at(`blobs/${image.layers[0]?.digest}`);
  for (const path of [at("manifests/1.0"), layer])
    t.match(await mirror.get(path, { ...usual, authorization }), { status: 200 });
  await mirror.line(({ msg, digest }) => msg === "fill committed" && digest === image.layers[0]?.digest);
  await drill(mirror, "POST", begun);
  clock.advance(300_001);
  users.ann = { ...ann, reads: [] };
  t.match(await mirror.get(layer, { ...drilled, authorization }), { status: 200 }, "as in an outage");
  t.match(await mirror.get(layer, { ...usual, authorization }), { status: 403 }, "upstream says no by now");
});

t.test("whoever may not push is told so, drill or not", async (t) => {
  const rules = [rule({ users: ["ann"] }), rule({ users: ["bob"], verbs: ["pull", "push"] })];
  const { mirror } = await start(t, {
    access: namedAccess({ ann: "a", bob: "b" }, rules),
    upstream: { push: true },
  });
  const upload = async (who: Record<string, string>) =>
    (await mirror.ask("POST", at("blobs/uploads/"), { ...drilled, ...who })).status;
  t.equal(await upload(login("ann", "a")), 403);
  await drill(mirror, "POST", begun);
  t.equal(await upload(login("ann", "a")), 403);
  t.equal(await upload(login("bob", "b")), 502);
});
