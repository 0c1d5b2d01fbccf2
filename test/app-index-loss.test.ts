// A start whose index cannot be read, while upstream is away: what is on the disk is served, and everybody is told.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { makeImage } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000] });

/** A mirror that has pulled an image, was stopped, and finds its index spoiled while upstream is away. */
async function restarted(t: Test, spoil: (directory: string) => Promise<void>): Promise<Mirror> {
  const upstream = await startUpstream(t, { anonymous: true });
  upstream.addImage("team/app", "1", image);
  const cache = { dir: t.testdir() };
  const mirrored = { url: upstream.url, username: "", password: "" };
  const first = await startMirror(t, mirrored, { cache });
  await first.get("/v2/team/app/manifests/1");
  for (const { digest } of [image.config, ...image.layers]) await first.get(`/v2/team/app/blobs/${digest}`);
  await first.app.stop();
  await upstream.stop();
  await spoil(cache.dir);
  return await startMirror(t, mirrored, { cache });
}

async function told(mirror: Mirror) {
  const text = async (path: string) => await (await fetch(new URL(path, mirror.ops))).text();
  return {
    readyz: (await text("/readyz")).split("\n").find((line) => line.startsWith("index")),
    verdict: JSON.parse(await text("/stats.json")).verdict as { level: string; reasons: string[] },
    metric: (await text("/metrics")).match(/^entrepot_index_lost_total.* [1-9]\d*$/gm),
  };
}

t.test("its copy is used: the whole image is served by its tag", async (t) => {
  const mirror = await restarted(t, (directory) =>
    writeFile(join(directory, "index.db"), "x".repeat(50_000)),
  );
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  for (const { digest, bytes } of [image.config, ...image.layers]) {
    const answer = await mirror.get(`/v2/team/app/blobs/${digest}`);
    t.equal(answer.status, 200);
    t.ok(answer.body.equals(bytes));
  }
  t.match(await told(mirror), {
    readyz: /^index failed: could not be read at the start, and its copy of 2\S+Z is used: .*not a database/,
    verdict: { level: "degraded", reasons: [/^index: could not be read at the start/] },
    metric: ['entrepot_index_lost_total{replaced_by="copy"} 1'],
  });
  const line = await mirror.line(({ msg }) => String(msg).startsWith("the index could not be read"));
  t.match(line, { level: "error", detail: /not a database/, copied_at: String });
});

t.test("without a copy that is told all the same", async (t) => {
  const mirror = await restarted(t, async (directory) => {
    await writeFile(join(directory, "index.db"), "x".repeat(50_000));
    await writeFile(join(directory, "index.db.copy"), "y".repeat(50_000));
  });
  t.match(await told(mirror), {
    readyz:
      /^index failed: could not be read at the start, and it was made anew from the store, without tags/,
    metric: ['entrepot_index_lost_total{replaced_by="store"} 1'],
  });
});

t.test("nothing is said of an index that is in order", async (t) => {
  const mirror = await restarted(t, async () => {});
  const { readyz, verdict, metric } = await told(mirror);
  t.same([readyz, metric], [undefined, null]);
  t.notOk(verdict.reasons.some((reason) => reason.startsWith("index")));
});
