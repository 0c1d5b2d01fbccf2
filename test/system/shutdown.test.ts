// SIGTERM as a load balancer sees it: not ready at once, transfers finished, then gone; a second one does not wait.
import { setTimeout as delay } from "node:timers/promises";
import t, { type Test } from "tap";
import { Content } from "./fixtures/content.ts";
import { type Download, download } from "./fixtures/download.ts";
import { startFront } from "./fixtures/front.ts";
import type { Hold } from "./fixtures/front-fault.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(60_000);

const content = new Content("shutdown", 16 * 2 ** 20);

/** A mirror with one client in the middle of a body that upstream holds. */
async function busyMirror(t: Test): Promise<{ mirror: Mirror; client: Download; hold: Hold }> {
  const front = await startFront(t);
  front.add(content);
  const mirror = await startMirror(t, front);
  const hold = front.hold(content.digest, 0.5);
  const client = download(mirror.blobUrl(content.digest));
  await client.started;
  await hold.reached;
  return { mirror, client, hold };
}

async function readiness(mirror: Mirror): Promise<number> {
  const answer = await fetch(`${mirror.url}/readyz`);
  await answer.text();
  return answer.status;
}

t.test("SIGTERM: readiness goes first, the body under way is finished, exit 0", async (t) => {
  const { mirror, client, hold } = await busyMirror(t);
  t.equal(await readiness(mirror), 200);
  mirror.process.signal("SIGTERM");
  const begin = performance.now();
  await until("not ready", async () => (await readiness(mirror)) === 404, 1_000);
  t.comment(`/readyz answers 404 after ${Math.round(performance.now() - begin)} ms`);
  t.ok(mirror.process.running, "it waits for the transfer");
  hold.release();
  const { complete, digest } = await client.done;
  t.match({ complete, digest }, { complete: true, digest: content.digest });
  t.same(await mirror.process.exited, { code: 0, signal: null });
});

t.test("a second SIGTERM cuts what is under way, exit 1", async (t) => {
  const { mirror, client } = await busyMirror(t);
  mirror.process.signal("SIGTERM");
  await until("not ready", async () => (await readiness(mirror)) === 404, 1_000);
  // Signals that come together count as one (a terminal and npm both send them), and nothing tells when that is over.
  await delay(500);
  mirror.process.signal("SIGTERM");
  t.notOk((await client.done).complete, "the body is cut");
  t.same(await mirror.process.exited, { code: 1, signal: null });
});

t.test("idle, with a client that keeps its connection open", async (t) => {
  const front = await startFront(t);
  const mirror = await startMirror(t, front);
  t.equal(await readiness(mirror), 200);
  const begin = performance.now();
  t.same(await mirror.stop(), { code: 0, signal: null });
  t.comment(`stopped after ${Math.round(performance.now() - begin)} ms`);
});
