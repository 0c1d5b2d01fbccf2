import t from "tap";
import { Prefetch } from "../../src/app/prefetch.ts";

/** Work that ends when it is told to. */
function makeWork(begun: number[], name: number) {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return {
    work: () => {
      begun.push(name);
      return promise;
    },
    end: resolve,
    fail: reject,
  };
}

t.test("two at a time, in order; a failure stops nothing; what is too much is dropped", async (t) => {
  const prefetch = new Prefetch();
  const begun: number[] = [];
  const all = Array.from({ length: 104 }, (_, at) => makeWork(begun, at));
  for (const { work } of all) prefetch.add(work);
  t.same(begun, [0, 1]);
  all[1]?.fail(new Error("upstream failed"));
  await new Promise(setImmediate);
  t.same(begun, [0, 1, 2]);
  for (const { end } of all) end();
  await new Promise(setImmediate);
  t.equal(begun.length, 102, "two ran and 100 waited");
});

t.test("after stop nothing begins", async (t) => {
  const prefetch = new Prefetch();
  const begun: number[] = [];
  const all = [0, 1, 2].map((at) => makeWork(begun, at));
  for (const { work } of all) prefetch.add(work);
  prefetch.stop();
  for (const { end } of all) end();
  await new Promise(setImmediate);
  t.same(begun, [0, 1]);
});
