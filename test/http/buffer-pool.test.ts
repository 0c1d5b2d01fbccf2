import t from "tap";
import { BufferPool } from "../../src/http/buffer-pool.ts";

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

t.test("few clients get large buffers, many get small ones, and nobody reads ahead then", async (t) => {
  const pool = new BufferPool();
  const lent: Buffer[] = [];
  while (!pool.busy) lent.push(pool.take());
  t.same(
    lent.map(({ length }) => length),
    [mebibyte, mebibyte, ...Array.from({ length: 8 }, () => 256 * kibibyte)],
  );
  t.equal(pool.lent, 4 * mebibyte);
  const more = pool.take();
  t.equal(more.length, 64 * kibibyte);
  pool.give(more);
  pool.give(lent.pop() as Buffer);
  t.notOk(pool.busy);
  t.equal(pool.take().length, 256 * kibibyte);
});

t.test("returned buffers are lent again; lost ones are only no longer counted", async (t) => {
  const pool = new BufferPool();
  const buffer = pool.take();
  pool.give(buffer);
  t.equal(pool.lent, 0);
  t.equal(pool.take(), buffer);
  pool.lost(buffer);
  t.equal(pool.lent, 0);
  t.not(pool.take(), buffer);
});

t.test(
  "no more than 2 MiB of each size are kept for later, and large ones crowd out no small ones",
  async (t) => {
    const pool = new BufferPool();
    const lent = Array.from({ length: 100 }, () => pool.take());
    for (const buffer of lent) pool.give(buffer);
    t.equal(pool.lent, 0);
    const again = new Set(Array.from({ length: 100 }, () => pool.take()));
    const kept = lent.filter((buffer) => again.has(buffer));
    for (const size of [mebibyte, 256 * kibibyte, 64 * kibibyte])
      t.equal(kept.filter(({ length }) => length === size).length, (2 * mebibyte) / size, `of ${size} bytes`);
  },
);
