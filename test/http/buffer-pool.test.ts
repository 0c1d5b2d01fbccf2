import t from "tap";
import { BufferPool } from "../../src/http/buffer-pool.ts";

const large = 256 * 1024;
const small = 64 * 1024;

t.test("few clients get large buffers, many get small ones, and nobody reads ahead then", async (t) => {
  const pool = new BufferPool();
  const lent: Buffer[] = [];
  while (!pool.busy) lent.push(pool.take());
  t.ok(lent.every(({ length }) => length === large));
  t.equal(pool.lent, lent.length * large);
  t.equal(pool.lent, 4 * 1024 * 1024);
  const more = pool.take();
  t.equal(more.length, small);
  pool.give(more);
  pool.give(lent.pop() as Buffer);
  t.notOk(pool.busy);
  t.equal(pool.take().length, large);
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

t.test("no more than 4 MiB are kept for later", async (t) => {
  const pool = new BufferPool();
  const lent = Array.from({ length: 100 }, () => pool.take());
  for (const buffer of lent) pool.give(buffer);
  t.equal(pool.lent, 0);
  const again = new Set(Array.from({ length: 100 }, () => pool.take()));
  const kept = lent.filter((buffer) => again.has(buffer)).reduce((sum, { length }) => sum + length, 0);
  t.ok(kept <= 4 * 1024 * 1024, `${kept}`);
  t.ok(kept > 0);
});
