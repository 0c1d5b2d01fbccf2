// What clients notice of an upstream that hangs and comes back: next to nothing, once an image is here. In real time,
// because time is what is promised.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000] });
/** Milliseconds for an answer from here, on a machine that is busy with other tests. */
const atOnce = 500;

t.test("a hung upstream: stale within a second, then at once; back within five seconds", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { tags: { ttl: 0 }, upstream: { manifestTimeout: 100 } });
  const pull = async (tag: string) => {
    const started = performance.now();
    const { status, headers } = await mirror.get(`/v2/team/app/manifests/${tag}`);
    return { status, retryAfter: headers["retry-after"], milliseconds: performance.now() - started };
  };
  for (const tag of ["first", "second"]) {
    upstream.addImage("team/app", tag, image);
    t.match(await pull(tag), { status: 200 });
  }
  const heal = upstream.fault(() => ({ hang: true }));
  const { status, milliseconds } = await pull("first");
  t.equal(status, 200);
  t.ok(milliseconds < 1_000 + atOnce, `${milliseconds} ms for the client that meets the first time-out`);
  t.match(await pull("third"), { status: 504 });
  await mirror.line(({ msg }) => msg === "upstream does not answer and is not asked for now");
  const asked = upstream.count({ kind: "manifest" });
  for (let round = 0; round < 20; round++) {
    const { status, milliseconds } = await pull("second");
    t.equal(status, 200);
    t.ok(milliseconds < atOnce, `${milliseconds} ms`);
  }
  t.match(await pull("third"), { status: 502, retryAfter: /^[1-4]$/ });
  heal();
  const healed = performance.now();
  t.equal(upstream.count({ kind: "manifest" }), asked, "nobody went upstream");
  await mirror.line(({ msg }) => msg === "upstream answers again");
  t.match(await pull("second"), { status: 200 });
  t.ok(performance.now() - healed < 5_000, `${performance.now() - healed} ms until it is asked again`);
  t.equal(upstream.count({ kind: "manifest" }), asked + 1, "the first request goes upstream");
  t.match(await mirror.line(({ result }) => result === "revalidated"), { reference: "second", status: 200 });
});
