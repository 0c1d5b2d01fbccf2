// Memory does not grow with the size of a blob, nor with the number of clients or how far they are behind.
import t from "tap";
import { Content } from "./fixtures/content.ts";
import { download } from "./fixtures/download.ts";
import { startFront } from "./fixtures/front.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(180_000);

const gibibyte = 2 ** 30;
/**
 * What the fill and its followers may add, in bytes: an eighth of the blob, 1.3 MB a follower. It depends on when V8
 * collects and on what malloc keeps, 45 to 85 MB were seen; V8 alone lets 64 MiB of buffers gather before it looks.
 */
const allowed = gibibyte / 8;
const fast = 4;
const slow = 96;

t.test("100 followers of a fill of 1 GiB", async (t) => {
  if (!requires(t, "linux")) return;
  const content = new Content("gibibyte", gibibyte);
  const front = await startFront(t);
  front.add(content);
  const mirror = await startMirror(t, front);
  const idle = await mirror.peakMemory();
  const hold = front.hold(content.digest, 0.001);
  let over = false;
  // Most clients fall behind at different paces, 0.5 to 3 MB/s, so that the fill has a hundred places to be read at.
  const laggards = Array.from({ length: slow }, (_, at) =>
    download(mirror.blobUrl(content.digest), {
      pace: () => 500_000 + at * 26_000,
      leave: () => over,
    }),
  );
  const leaders = Array.from({ length: fast }, () => download(mirror.blobUrl(content.digest)));
  await Promise.all([...laggards, ...leaders].map(({ started }) => started));
  hold.release();
  const begin = performance.now();
  const done = await Promise.all(leaders.map((leader) => leader.done));
  const seconds = (performance.now() - begin) / 1000;
  t.ok(
    done.every(({ complete, digest }) => complete && digest === content.digest),
    "those that keep up have every byte",
  );
  const peak = await mirror.peakMemory();
  t.ok(peak - idle < allowed, `peak ${Math.round(peak / 1e6)} MB, ${Math.round(idle / 1e6)} MB before`);
  t.equal(front.log.blobGets().length, 1);
  t.comment(`fill of 1 GiB with ${fast} fast and ${slow} slow followers: ${seconds.toFixed(1)} s`);
  t.comment(`peak memory ${Math.round(peak / 1e6)} MB, ${Math.round(idle / 1e6)} MB before`);
  over = true;
  const left = await Promise.all(laggards.map((laggard) => laggard.done));
  t.ok(
    left.every(({ complete }) => !complete),
    "the slow ones were all still reading",
  );
});
