import t from "tap";
import { StoredReaders } from "../../src/cache/stored-readers.ts";
import type { BlobReader } from "../../src/ports/blobs.ts";
import { digestOf } from "../fixtures/images.ts";

const digest = digestOf(Buffer.from("x"));
const other = digestOf(Buffer.from("y"));

function blob(): BlobReader {
  return { read: async () => Buffer.from("x"), close: async () => {} };
}

t.test(
  "readers that are cut get no more, with the reason; those of other blobs and later ones do",
  async (t) => {
    const readers = new StoredReaders(() => {});
    const [reader, beside] = [readers.add(digest, blob()), readers.add(other, blob())];
    t.same([...readers.digests].toSorted(), [digest, other].sort());
    await reader.read(0, Buffer.alloc(1));
    readers.cut(digest, new Error("blocked by the test"));
    t.equal(readers.cuts, 1);
    await t.rejects(reader.read(0, Buffer.alloc(1)), { message: "blocked by the test" });
    t.throws(() => reader.lend?.(0, 1), { message: "blocked by the test" });
    await t.resolves(beside.read(0, Buffer.alloc(1)));
    const later = readers.add(digest, blob());
    await t.resolves(later.read(0, Buffer.alloc(1)));
    readers.cut(digest);
    await t.rejects(later.read(0, Buffer.alloc(1)), { code: "corrupt" }, "by default the bytes are wrong");
    for (const each of [reader, beside, later]) await each.close();
  },
);

t.test("readers of what is not stored yet are told, until they are not any more", (t) => {
  const readers = new StoredReaders(() => {});
  const told: string[] = [];
  const forget = readers.onCut(digest, ({ message }) => told.push(message));
  readers.cut(other, new Error("another"));
  readers.cut(digest, new Error("blocked"));
  forget();
  readers.cut(digest, new Error("once more"));
  t.same(told, ["blocked"]);
  t.end();
});
