import t, { type Test } from "tap";
import { DirectoryDown } from "../../../src/gate/directory.ts";
import { KeySet } from "../../../src/gate/token/key-set.ts";
import { startJwtIssuer } from "../../fixtures/jwt-issuer.ts";

async function setUp(t: Test, isNear = false) {
  const issuer = await startJwtIssuer(t);
  const time = { now: 0 };
  const failures: string[] = [];
  let loads = 0;
  let down = false;
  const keys = new KeySet({
    load: async () => {
      loads++;
      if (down) throw new Error("it is away");
      return await issuer.set();
    },
    isNear,
    failed: (problem) => failures.push(problem),
    clock: () => time.now,
  });
  const find = async (kid: string): Promise<boolean> => {
    try {
      await keys.get({ alg: "ES256", kid }, { payload: "", signature: "" });
      return true;
    } catch (error) {
      if (error instanceof DirectoryDown) throw error;
      return false;
    }
  };
  return { issuer, time, failures, find, keys, loads: () => loads, away: (is: boolean) => (down = is) };
}

t.test("keys that are known need nobody", async (t) => {
  const { find, loads, away, time } = await setUp(t);
  t.ok(await find("1"));
  t.ok(await find("1"));
  t.equal(loads(), 1);
  away(true);
  time.now += 3_600_000;
  t.ok(await find("1"), "however long the issuer is away");
});

t.test("a key that is not known is asked for, once in half a minute", async (t) => {
  const { find, loads, issuer, time } = await setUp(t);
  t.ok(await find("1"));
  for (let at = 0; at < 50; at++) t.notOk(await find(`unknown ${at}`));
  t.equal(loads(), 1, "just read");
  time.now += 30_000;
  await issuer.add("2");
  t.same(await Promise.all([find("2"), find("2"), find("2")]), [true, true, true]);
  t.equal(loads(), 2);
  for (let at = 0; at < 50; at++) t.notOk(await find(`unknown ${at}`));
  t.equal(loads(), 2);
});

t.test("it is read again every ten minutes, and a key that is gone counts no more", async (t) => {
  const { find, loads, issuer, time } = await setUp(t);
  await issuer.add("2");
  t.ok(await find("2"));
  issuer.remove("2");
  time.now += 599_999;
  t.ok(await find("2"));
  t.equal(loads(), 1);
  time.now += 1;
  await find("2");
  t.equal(loads(), 2, "in the background");
  await find("1");
  t.notOk(await find("2"));
});

t.test("while it was never read nothing can be said, and it is asked every five seconds", async (t) => {
  const { find, loads, away, time, failures } = await setUp(t);
  away(true);
  await t.rejects(find("1"), DirectoryDown);
  await t.rejects(find("1"), DirectoryDown);
  t.equal(loads(), 1);
  t.same(failures, ["it is away"]);
  time.now += 5_000;
  away(false);
  t.ok(await find("1"));
});

t.test("what is no key set is as one that cannot be read", async (t) => {
  const failures: string[] = [];
  for (const [at, document] of [undefined, null, [], {}, { keys: {} }, { keys: [1] }, "x"].entries()) {
    const keys = new KeySet({
      load: async () => document,
      isNear: false,
      failed: (problem) => failures.push(problem),
      clock: () => 0,
    });
    await keys.prepare();
    t.equal(failures.length, at + 1, JSON.stringify(document));
  }
});

t.test("what is at hand is looked at every second", async (t) => {
  const { find, loads, issuer, time } = await setUp(t, true);
  t.ok(await find("1"));
  await issuer.add("2");
  t.notOk(await find("2"));
  t.equal(loads(), 1);
  time.now += 1_000;
  t.ok(await find("2"));
  issuer.remove("1");
  time.now += 1_000;
  await find("2");
  await find("2");
  t.notOk(await find("1"));
});
