// A disk that is full costs the cache, never the client.
import t from "tap";
import { Content, digestOf } from "./fixtures/content.ts";
import { download } from "./fixtures/download.ts";
import { startFront } from "./fixtures/front.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { mountSmallDisk, smallDiskPrograms } from "./fixtures/small-disk.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(60_000);

const mebibyte = 2 ** 20;

for (const unsized of [false, true]) {
  t.test(`64 MiB ${unsized ? "without a length" : "announced"} on a disk of 16 MiB`, async (t) => {
    if (!requires(t, ...smallDiskPrograms)) return;
    const large = new Content("large", 64 * mebibyte);
    const small = new Content("small", 2 * mebibyte);
    const front = await startFront(t);
    front.add(large, small);
    front.fault(large.digest).unsized = unsized;
    const cacheDirectory = await mountSmallDisk(t, 16);
    const mirror = await startMirror(t, front, { cacheDirectory });

    const clients = [1, 2, 3].map(async () => {
      const answer = await fetch(mirror.blobUrl(large.digest));
      return digestOf(Buffer.from(await answer.arrayBuffer()));
    });
    t.same(
      await Promise.all(clients),
      [large.digest, large.digest, large.digest],
      "every client has every byte",
    );
    t.comment(`${front.log.blobGets().length} upstream GETs for 3 clients`);

    front.log.forget();
    const cold = await download(mirror.blobUrl(small.digest)).done;
    t.match(cold, { status: 200, complete: true, digest: small.digest }, "the next blob is served");
    await until("a small blob is kept again", async () => {
      front.log.forget();
      const warm = await download(mirror.blobUrl(small.digest)).done;
      t.equal(warm.digest, small.digest);
      return front.log.blobGets().length === 0;
    });
    t.ok(mirror.process.running);
  });
}
