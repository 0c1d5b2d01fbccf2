import t from "tap";
import { BufferPool } from "../../src/http/buffer-pool.ts";

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

/** Sizes in KiB of what is lent as long as `until` allows. */
function lend(pool: BufferPool, source: "file" | "fill", until: () => boolean): number[] {
  const sizes: number[] = [];
  while (!until()) sizes.push(pool.take(source).length / kibibyte);
  return sizes;
}

const middles = (count: number): number[] => Array.from({ length: count }, () => 256);

t.test("few clients get large buffers, many get smaller ones, and nobody reads ahead then", async (t) => {
  const pool = new BufferPool();
  t.same(
    lend(pool, "file", () => pool.busy),
    [1024, 1024, ...middles(8)],
  );
  t.equal(pool.lent, 4 * mebibyte);
  t.same(
    lend(pool, "file", () => pool.lent >= 32 * mebibyte),
    middles(112),
  );
  const small = pool.take("file");
  t.equal(small.length, 64 * kibibyte);
  pool.give(small);
});

t.test("followers of a fill, who may be slow, get small ones sooner", async (t) => {
  const pool = new BufferPool();
  t.same(
    lend(pool, "fill", () => pool.busy),
    [1024, 1024, ...middles(8)],
  );
  const small = pool.take("fill");
  t.equal(small.length, 64 * kibibyte);
  t.equal(pool.take("file").length, 256 * kibibyte, "others do not");
  pool.give(small);
});

t.test("returned buffers are lent again; lost ones are only no longer counted", async (t) => {
  const pool = new BufferPool();
  const buffer = pool.take("file");
  pool.give(buffer);
  t.equal(pool.lent, 0);
  t.equal(pool.take("file"), buffer);
  pool.lost(buffer);
  t.equal(pool.lent, 0);
  t.not(pool.take("file"), buffer);
});

t.test("no more than 8 MiB of each size are kept for later", async (t) => {
  const pool = new BufferPool();
  const lent = Array.from({ length: 400 }, () => pool.take("file"));
  for (const buffer of lent) pool.give(buffer);
  t.equal(pool.lent, 0);
  const again = new Set(Array.from({ length: 400 }, () => pool.take("file")));
  const kept = lent.filter((buffer) => again.has(buffer));
  const count = (size: number): number => kept.filter(({ length }) => length === size).length;
  t.equal(count(mebibyte), 2, "as many as were lent");
  for (const size of [256 * kibibyte, 64 * kibibyte])
    t.equal(count(size), (8 * mebibyte) / size, `of ${size} bytes`);
});
