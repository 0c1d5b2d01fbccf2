import t from "tap";
import { ByteBudget } from "../../../src/storage/s3/byte-budget.ts";
import { quiet } from "../../fixtures/manual-time.ts";

const never = new AbortController().signal;

t.test("whoever comes when it is used up waits, in order", async (t) => {
  const budget = new ByteBudget(10);
  const first = await budget.take(6, never);
  const order: string[] = [];
  const take = async (name: string, bytes: number) => {
    const release = await budget.take(bytes, never);
    order.push(name);
    return release;
  };
  const large = take("large", 8);
  const small = take("small", 1);
  await quiet();
  t.same(order, [], "the small one does not overtake");
  t.equal(budget.used, 6);
  first();
  const releases = await Promise.all([large, small]);
  t.same(order, ["large", "small"]);
  t.equal(budget.used, 9);
  for (const release of releases) release();
  t.equal(budget.used, 0);
});

t.test("one that gives up lets the next one through", async (t) => {
  const budget = new ByteBudget(10);
  const release = await budget.take(6, never);
  const giving = new AbortController();
  const given = budget.take(8, giving.signal);
  const next = budget.take(4, never);
  giving.abort();
  await t.rejects(given, { name: "StoreError", code: "unavailable" });
  (await next)();
  release();
  t.equal(budget.used, 0);
  await t.rejects(budget.take(1, giving.signal), { name: "StoreError" });
});

t.test("a thousand wait at most", async (t) => {
  const budget = new ByteBudget(1);
  const release = await budget.take(1, never);
  const giving = new AbortController();
  const waiting = Array.from({ length: 1_000 }, () => budget.take(1, giving.signal));
  await t.rejects(budget.take(1, never), { name: "StoreError", code: "unavailable" });
  giving.abort();
  const results = await Promise.allSettled(waiting);
  t.ok(results.every(({ status }) => status === "rejected"));
  release();
});
