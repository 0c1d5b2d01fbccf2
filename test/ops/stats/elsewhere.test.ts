import { setImmediate as turn } from "node:timers/promises";
import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { inS3 } from "../../../src/ops/stats/elsewhere.ts";
import { StoreError } from "../../../src/ports/blobs.ts";
import { digestOf } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const digests = Array.from({ length: 500 }, (_, at) => digestOf(Buffer.from(`${at}`)));
const [first, second] = digests as [Digest, Digest];
const info = { size: 1, mediaType: undefined, modifiedAt: 0 };

t.test("eight are asked for at once; what S3 has not is known, too", async (t) => {
  let running = 0;
  let most = 0;
  const head = async (digest: Digest) => {
    most = Math.max(most, ++running);
    await turn();
    running--;
    return digest === first ? info : undefined;
  };
  const found = await inS3({ source: "s3", head }, 4_000, () => 0)(digests);
  t.equal(most, 8);
  t.equal(found.size, 500);
  t.strictSame(found.get(first), ["s3"]);
  t.strictSame(found.get(second), []);
  t.equal((await inS3(undefined, 4_000, () => 0)(digests)).size, 500, "nothing is in an S3 that is not used");
});

t.test(
  "an S3 that takes a second for each is asked for as long as there is patience for one answer",
  async (t) => {
    const clock = new ManualClock();
    let asked = 0;
    const head = async () => {
      await turn();
      // Eight seconds, at once.
      if (asked++ % 8 === 0) clock.advance(1_000);
      return info;
    };
    const elsewhere = inS3({ source: "s3", head }, 4_000, clock.read);
    const found = await elsewhere(digests);
    t.ok(asked <= 40, `${asked}`);
    t.equal(found.size, asked, "of the others it is not known");
    t.equal((await elsewhere([second])).size, 0);
    t.equal((await inS3({ source: "s3", head }, 4_000, clock.read)([second])).size, 1, "another answer");
  },
);

t.test("an S3 that fails is not asked any more for that answer", async (t) => {
  let asked = 0;
  const head = async () => {
    asked++;
    await turn();
    throw new StoreError("unavailable", "S3 does not answer");
  };
  const elsewhere = inS3({ source: "s3", head }, 240_000, () => 0);
  t.equal((await elsewhere(digests)).size, 0);
  t.ok(asked <= 12, `${asked}`);
  const before = asked;
  await elsewhere(digests);
  t.equal(asked, before);
});
