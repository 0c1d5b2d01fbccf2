import t from "tap";
import { eachAtOnce } from "../../src/ports/turns.ts";

t.test("in order, at most so many at once; a failure comes when all that had begun have ended", async (t) => {
  const [begun, ended]: [number[], number[]] = [[], []];
  const gates = [0, 1, 2, 3].map(() => Promise.withResolvers<void>());
  const all = eachAtOnce([0, 1, 2, 3], 2, async (item) => {
    begun.push(item);
    await gates[item]?.promise;
    ended.push(item);
  });
  t.same(begun, [0, 1]);
  gates[1]?.resolve();
  await new Promise(setImmediate);
  t.same(begun, [0, 1, 2]);
  gates[2]?.reject(new Error("by the test"));
  gates[3]?.resolve();
  let failed = false;
  all.catch(() => {
    failed = true;
  });
  await new Promise(setImmediate);
  t.notOk(failed);
  gates[0]?.resolve();
  await t.rejects(all, /by the test/);
  t.same(ended.sort(), [0, 1, 3]);
  await eachAtOnce([], 2, async () => void t.fail("there is nothing"));
});
