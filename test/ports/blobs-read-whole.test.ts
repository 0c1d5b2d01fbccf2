import t from "tap";
import { readWhole } from "../../src/ports/blobs.ts";

const bytes = Buffer.from("all of a blob");

/** Reads three bytes at a time, into the scratch or as memory of its own. */
function reader(intoScratch: boolean, blob = bytes) {
  return {
    read: async (position: number, scratch: Buffer) => {
      const chunk = blob.subarray(position, position + Math.min(3, scratch.length));
      return intoScratch ? scratch.subarray(0, chunk.copy(scratch)) : chunk;
    },
  };
}

for (const intoScratch of [true, false])
  t.test(`all of a blob, read ${intoScratch ? "into the scratch" : "as memory of its own"}`, async (t) => {
    const body = await readWhole(reader(intoScratch), bytes.length);
    t.same(body, bytes);
    t.equal(body.buffer.byteLength, bytes.length, "no slice of the pool that other buffers share");
  });

t.test("a blob that ends early gives what there is", async (t) => {
  t.same(await readWhole(reader(true), bytes.length + 10), bytes);
  t.same(await readWhole(reader(true, Buffer.alloc(0)), 10), Buffer.alloc(0));
});
