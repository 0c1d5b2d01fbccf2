// The wall clock is set back, or was a year ahead and is corrected: nothing here lasts longer for that.
import t, { type Test } from "tap";
import { makeImage } from "./fixtures/images.ts";
import { type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1000] });
const year = 365 * 86_400_000;
const minute = 60_000;

/** A mirror whose wall clock can be set, while a second of the other is a second. */
async function start(t: Test, options: MirrorOptions = {}) {
  let wall = Date.parse("2026-01-01T00:00:00Z");
  let steady = 1_000;
  const upstream = await startUpstream(t, { anonymous: true });
  upstream.addImage("team/app", "1", image);
  const mirrored = { url: upstream.url, username: "", password: "" };
  const mirror = await startMirror(t, mirrored, { ...options, clock: () => wall, steady: () => steady });
  return {
    upstream,
    mirror,
    status: async (path: string) => (await mirror.get(`/v2/team/app/${path}`)).status,
    set: (by: number): void => {
      wall += by;
    },
    pass: (milliseconds: number): void => {
      wall += milliseconds;
      steady += milliseconds;
    },
  };
}

t.test("a remembered 404 is forgotten after its ten seconds", async (t) => {
  const { upstream, status, set, pass } = await start(t);
  t.equal(await status("manifests/2"), 404);
  set(-year);
  t.equal(await status("manifests/2"), 404);
  t.equal(upstream.count({ kind: "manifest" }), 1, "remembered");
  pass(10_001);
  upstream.addImage("team/app", "2", image);
  t.equal(await status("manifests/2"), 200);
});

t.test("an upstream that asked to slow down is asked again when it said", async (t) => {
  const { upstream, status, set, pass } = await start(t);
  const over = upstream.fault(() => ({ status: 429, headers: { "retry-after": "30" } }));
  t.equal(await status("manifests/1"), 429);
  over();
  set(-20_000);
  pass(30_001);
  t.equal(await status("manifests/1"), 200);
});

t.test("a tag checked in a year that is not yet", async (t) => {
  const digests = async (mirror: Awaited<ReturnType<typeof start>>["mirror"]) =>
    (await mirror.get("/v2/team/app/manifests/1")).headers["docker-content-digest"];
  const other = makeImage({ layers: [2000] });

  await t.test("is asked for, once", async (t) => {
    const { upstream, mirror, set } = await start(t);
    set(year);
    t.equal(await digests(mirror), image.digest);
    set(-year);
    upstream.addImage("team/app", "1", other);
    upstream.forget();
    t.equal(await digests(mirror), other.digest);
    t.equal(await digests(mirror), other.digest);
    t.equal(upstream.count({ kind: "manifest" }), 2, "HEAD and GET, then it is fresh");
  });

  await t.test("within 5 minutes is believed", async (t) => {
    const { upstream, mirror, set } = await start(t);
    await digests(mirror);
    upstream.forget();
    set(-5 * minute);
    await digests(mirror);
    t.equal(upstream.count(), 0);
    set(-1);
    await digests(mirror);
    t.ok(upstream.count() > 0);
  });

  await t.test("is served while upstream is away, and no longer than any other", async (t) => {
    const { upstream, status, set, pass } = await start(t, {
      tags: { ttl: minute, staleIfError: 10 * minute },
    });
    set(year);
    t.equal(await status("manifests/1"), 200);
    set(-year);
    await upstream.stop();
    t.equal(await status("manifests/1"), 200);
    pass(9 * minute);
    t.equal(await status("manifests/1"), 200);
    pass(2 * minute);
    t.equal(await status("manifests/1"), 502);
  });
});

t.test("a list of tags of a year that is not yet is asked for", async (t) => {
  const { upstream, mirror, set } = await start(t);
  const tags = async () =>
    JSON.parse((await mirror.get("/v2/team/app/tags/list")).body.toString()).tags as string[];
  set(year);
  t.same(await tags(), ["1"]);
  set(-year);
  upstream.addImage("team/app", "2", image);
  t.same(await tags(), ["1", "2"]);
  set(year);
  await tags();
  set(-year);
  await upstream.stop();
  t.same(await tags(), ["1", "2"], "but given while upstream is away");
});
