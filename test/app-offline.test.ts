// A registry that is asked for nothing by the configuration: what is here is served, whatever its age, and the rest is refused.
import t, { type Test } from "tap";
import type { StatsDocument } from "../src/ops/stats/stats-document.ts";
import { makeImage } from "./fixtures/images.ts";
import { ManualClock } from "./fixtures/manual-time.ts";
import { type MirrorOptions, mirrorConfig, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";
import { runJob } from "./fixtures/warm-jobs.ts";

const day = 86_400_000;
const image = makeImage({ layers: [50_000] });
const other = makeImage({ layers: [60_000], seed: "other" });
const at = (rest: string) => `/v2/team/app/${rest}`;

async function start(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", image);
  upstream.addImage("team/app", "2.0", other);
  const clock = new ManualClock();
  const given = { clock: clock.read, ...options };
  const mirror = await startMirror(t, upstream, given);
  const reload = (offline: boolean): boolean => {
    const upstreamOptions = { ...options.upstream, offline };
    const config = mirrorConfig(upstream, mirror.directory, { ...given, upstream: upstreamOptions });
    const key = "offline";
    const applied = [
      { key: `upstream.${key}`, upstream: { name: "upstream", key }, text: `${key}: ${offline}` },
    ];
    return mirror.app.reload({ ok: true, config, warnings: [], changes: { applied, needRestart: [] } });
  };
  return { upstream, clock, mirror, reload };
}

t.test(
  "what is here is served whatever its age, the rest names the setting, and nothing is asked",
  async (t) => {
    const { upstream, clock, mirror, reload } = await start(t);
    t.equal((await runJob(mirror, { images: ["team/app:1.0"] })).state, "done");
    await mirror.get(at("tags/list"));
    t.ok(reload(true));
    upstream.forget();
    clock.advance(400 * day);
    const manifest = await mirror.get(at("manifests/1.0"));
    t.match(manifest, { status: 200, body: image.manifest });
    t.match(manifest.headers.warning, /^299 - "stale tag, confirmed \d+ s ago: .*\(offline\)"$/);
    for (const { digest, bytes } of [image.config, ...image.layers])
      t.match(await mirror.get(at(`blobs/${digest}`)), { status: 200, body: bytes });
    t.match(await mirror.get(at("tags/list")), { status: 200, headers: { warning: /offline/ } });
    for (const path of ["manifests/2.0", `manifests/${other.digest}`, `blobs/${other.config.digest}`]) {
      const { status, body } = await mirror.get(at(path));
      t.equal(status, 502, path);
      t.match(body.toString(), /"UNAVAILABLE".*configured to ask it for nothing \(offline\)/);
    }
    const here = await runJob(mirror, { images: ["team/app:1.0"] });
    t.match(here, { state: "done" }, "all there is to have");
    const missing = await runJob(mirror, { images: ["team/app:2.0"] });
    t.match(missing, { state: "failed", failures: [{ reason: /asked for nothing: offline is set/ }] });
    const ask = async (path: string) => await (await fetch(new URL(path, mirror.ops))).json();
    t.match((await ask("/api/v1/readiness?days=7")) as object, { pulled: 1, ready: 1 });
    t.match((await ask("/api/v1/why?reference=team/app:1.0")) as object, {
      tag: { state: "stale" },
      withoutUpstream: { served: true },
    });
    const stats = (await ask("/api/v1/stats")) as StatsDocument;
    t.match(stats, { upstreams: [{ offline: true, circuit: "closed", errors: 0 }] });
    t.notMatch(stats.verdict.reasons.join(), /upstream upstream|stale/);
    t.match(await (await fetch(mirror.ops)).text(), /offline, not asked/);
    t.equal(upstream.requests.length, 0, "nothing was asked");

    t.ok(reload(false));
    t.match(await mirror.get(at("manifests/2.0")), { status: 200, headers: { warning: undefined } });
  },
);

t.test("one that was not answering is not probed any more, and is no trouble", async (t) => {
  const { upstream, mirror, reload } = await start(t);
  const heal = upstream.fault(() => ({ status: 500 }));
  for (const tag of ["1.0", "2.0", "3.0"]) await mirror.get(at(`manifests/${tag}`));
  await mirror.line(({ msg }) => msg === "upstream does not answer and is not asked for now");
  t.match(await (await fetch(new URL("/readyz", mirror.ops))).text(), /upstream upstream/);
  t.ok(reload(true));
  heal();
  upstream.forget();
  t.equal((await mirror.get(at("manifests/1.0"))).status, 502);
  t.notMatch(await (await fetch(new URL("/readyz", mirror.ops))).text(), /upstream upstream/);
  const stats = (await (await fetch(new URL("/api/v1/stats", mirror.ops))).json()) as StatsDocument;
  t.match(stats.upstreams, [{ offline: true, circuit: "closed" }]);
  t.equal(upstream.requests.length, 0);
});

t.test("a push to it is refused", async (t) => {
  const { upstream, mirror } = await start(t, { upstream: { push: true, offline: true } });
  const put = await mirror.ask(
    "PUT",
    at("manifests/3.0"),
    { "content-type": image.mediaType },
    image.manifest,
  );
  t.equal(put.status, 502);
  t.match(put.body.toString(), /offline/);
  t.equal(upstream.requests.length, 0);
});
