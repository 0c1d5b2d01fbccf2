// After a start: what was stored shortly before the end and never uploaded.
import t from "tap";
import { type Publisher, publishUnpublished } from "../../../src/cache/sharing/publisher.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { type BlobInfo, StoreError } from "../../../src/ports/blobs.ts";
import { openCache, storeBlob } from "../../fixtures/cache-fixture.ts";
import { sha256 } from "../../fixtures/memory-upstream.ts";
import { MemorySharedBlobs } from "../../fixtures/neighbours.ts";

const hour = 3600_000;
const mediaType = "application/vnd.oci.image.manifest.v1+json";

async function restarted(t: Parameters<typeof openCache>[0], stored: Record<string, number>) {
  const shared = new MemorySharedBlobs();
  const cache = await openCache(t, { sharedBlobs: shared });
  const now = cache.clock.now;
  const files: BlobInfo[] = [];
  for (const [text, age] of Object.entries(stored)) {
    const bytes = Buffer.from(text);
    const digest = sha256(bytes);
    await storeBlob(cache, bytes, digest);
    files.push({ digest, size: bytes.length, modifiedAt: now - age });
  }
  const ending = new AbortController();
  const catchUp = (
    list: () => AsyncIterable<BlobInfo> = async function* () {
      yield* files;
    },
  ) =>
    publishUnpublished({
      local: { list },
      index: {
        get: (digest: Digest) => ({
          size: 1,
          checkedAt: 0,
          mediaType: digest === files[0]?.digest ? mediaType : undefined,
        }),
      },
      shared,
      publisher: cache.publisher as Publisher,
      clock: () => now,
      signal: ending.signal,
    });
  return { shared, files, catchUp, ending };
}

t.test("what is not there is uploaded, with its media type; what is there is left alone", async (t) => {
  const { shared, files, catchUp } = await restarted(t, { "a manifest": hour, "a layer": hour, there: hour });
  const [manifest, layer, there] = files.map(({ digest }) => digest) as [Digest, Digest, Digest];
  shared.kept.set(there, { bytes: Buffer.from("there"), mediaType: undefined, modifiedAt: 0 });
  await catchUp();
  t.equal(shared.kept.get(manifest)?.mediaType, mediaType);
  t.equal(shared.kept.get(layer)?.mediaType, undefined);
  t.ok(shared.kept.has(layer));
  t.equal(shared.count("put"), 2);
});

t.test("what is older than a day is not even asked for", async (t) => {
  const { shared, catchUp } = await restarted(t, { old: 25 * hour });
  await catchUp();
  t.same(shared.calls, []);
});

t.test("a shared store that fails: all of it waits in the publisher", async (t) => {
  const { shared, files, catchUp } = await restarted(t, { one: hour, two: hour });
  shared.fault = () => {
    throw new StoreError("unavailable", "not today");
  };
  await catchUp();
  t.equal(shared.count("head"), files.length);
  t.equal(shared.kept.size, 0);
});

t.test("a stop ends it", async (t) => {
  const { shared, catchUp, ending } = await restarted(t, { one: hour });
  ending.abort();
  await catchUp();
  t.same(shared.calls, []);
});

t.test("a local store that cannot be listed is a failure", async (t) => {
  const { catchUp } = await restarted(t, {});
  const broken = (): AsyncIterable<BlobInfo> => {
    throw new StoreError("io", "no directory");
  };
  await t.rejects(catchUp(broken), { code: "io" });
});
