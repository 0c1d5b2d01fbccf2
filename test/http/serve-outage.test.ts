// What clients notice of an upstream that hangs and comes back: next to nothing, once an image is here.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000] });

t.test("a hung upstream: stale after a second, then at once; asked again within five seconds", async (t) => {
  const upstream = await startUpstream(t);
  const time = new ManualPause();
  const mirror = await startMirror(t, upstream, {
    tags: { ttl: 0 },
    upstream: { firstByteTimeout: 3_000 },
    pause: time.pause,
  });
  const pull = async (tag: string) => {
    const { status, headers } = await mirror.get(`/v2/team/app/manifests/${tag}`);
    return { status, retryAfter: headers["retry-after"], warning: headers.warning };
  };
  for (const tag of ["first", "second"]) {
    upstream.addImage("team/app", tag, image);
    t.match(await pull(tag), { status: 200, warning: undefined });
  }
  const heal = upstream.fault(() => ({ hang: true }));
  time.asked.length = 0;
  const first = pull("first");
  const third = pull("third");
  await eventually("the client that meets it first waits", () => time.waiting === 1);
  t.same(time.asked, [1_000]);
  time.elapse();
  const stale = /^299 - "stale tag, confirmed \d+ s ago: the upstream registry failed \(timeout\)"$/;
  t.match(await first, { status: 200, warning: stale });
  t.match(await third, { status: 504 });
  await mirror.line(({ msg }) => msg === "upstream does not answer and is not asked for now");
  const asked = upstream.count({ kind: "manifest" });
  await eventually("a probe is planned", () => time.waiting === 1);
  for (let round = 0; round < 20; round++) t.match(await pull("second"), { status: 200 });
  t.equal(time.waiting, 1, "nobody waits but the probe");
  t.match(await pull("third"), { status: 502, retryAfter: /^[1-4]$/ });
  t.equal(upstream.count({ kind: "manifest" }), asked, "nobody went upstream");
  heal();
  time.elapse();
  await mirror.line(({ msg }) => msg === "upstream answers again");
  t.ok(
    time.asked.every((milliseconds) => milliseconds <= 5_000),
    String(time.asked),
  );
  t.match(await pull("second"), { status: 200 });
  t.equal(upstream.count({ kind: "manifest" }), asked + 1, "the first request goes upstream");
  t.match(await mirror.line(({ result }) => result === "revalidated"), { reference: "second", status: 200 });
});
