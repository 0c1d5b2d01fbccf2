import t from "tap";
import { DirectoryDown } from "../../../src/gate/directory.ts";
import { BearerTokens, bearerToken, type Proved } from "../../../src/gate/token/bearer-tokens.ts";

function make(prove: (token: string) => Promise<Proved | undefined>) {
  const time = { now: 1_000_000, steady: 0 };
  let asked = 0;
  const tokens = new BearerTokens({
    prove: (token) => {
      asked++;
      return prove(token);
    },
    clock: () => time.now,
    steady: () => time.steady,
  });
  const pass = (milliseconds: number): void => {
    time.now += milliseconds;
    time.steady += milliseconds;
  };
  return { tokens, pass, time, asked: () => asked };
}

const alice = { name: "alice" };

t.test("the token in a header", async (t) => {
  t.equal(bearerToken("Bearer abc.def-_~+/=="), "abc.def-_~+/==");
  t.equal(bearerToken("bearer  abc "), "abc");
  for (const other of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "Basic abc",
    "Bearer a b",
    "Bearer é",
    "Bearer a=b",
  ])
    t.equal(bearerToken(other), undefined, String(other));
  t.equal(bearerToken(`Bearer ${"a".repeat(32_768)}`), undefined);
});

t.test("a good token is remembered for a minute, and then proved again", async (t) => {
  const { tokens, pass, asked } = make(async () => ({ person: alice, access: undefined, endsAt: 9e9 }));
  t.match(await tokens.check("a"), { person: alice });
  const good = tokens.check("a");
  t.notOk(good instanceof Promise, "at once");
  if (typeof good !== "string" && !(good instanceof Promise)) t.equal(tokens.lastsOf(good), 60_000);
  t.equal(asked(), 1);
  pass(59_999);
  t.notOk(tokens.check("a") instanceof Promise);
  pass(1);
  await tokens.check("a");
  t.equal(asked(), 2);
});

t.test("and never beyond its end, also when the clock is set back", async (t) => {
  const { tokens, pass, time, asked } = make(async () => ({
    person: alice,
    access: undefined,
    endsAt: 1_010_000,
  }));
  await tokens.check("a");
  pass(9_999);
  t.notOk(tokens.check("a") instanceof Promise);
  time.now -= 3_600_000;
  pass(1);
  await tokens.check("a");
  t.equal(asked(), 2);
});

t.test("a bad one is not remembered", async (t) => {
  let good = false;
  const { tokens, asked } = make(async () =>
    good ? { person: alice, access: undefined, endsAt: 9e9 } : undefined,
  );
  t.equal(await tokens.check("a"), "bad");
  good = true;
  t.match(await tokens.check("a"), { person: alice });
  t.equal(asked(), 2);
});

t.test("what many send at once is proved once", async (t) => {
  const { promise, resolve } = Promise.withResolvers<Proved>();
  const { tokens, asked } = make(() => promise);
  const all = Array.from({ length: 10 }, () => tokens.check("a"));
  resolve({ person: alice, access: undefined, endsAt: 9e9 });
  for (const each of await Promise.all(all)) t.match(each, { person: alice });
  t.equal(asked(), 1);
});

t.test("what is forgotten while it is proved is proved again", async (t) => {
  const gates = [Promise.withResolvers<Proved | undefined>(), Promise.withResolvers<Proved | undefined>()];
  let at = 0;
  const { tokens, asked } = make(() => (gates[at++] as (typeof gates)[0]).promise);
  const checked = tokens.check("a");
  tokens.forget();
  gates[0]?.resolve({ person: alice, access: undefined, endsAt: 9e9 });
  gates[1]?.resolve(undefined);
  t.equal(await checked, "bad", "alice is gone");
  t.equal(asked(), 2);
});

t.test("what cannot be found out now is not taken for bad, and is asked again", async (t) => {
  const { tokens, asked } = make(() => Promise.reject(new DirectoryDown("away")));
  t.equal(await tokens.check("a"), "down");
  t.equal(await tokens.check("a"), "down");
  t.equal(asked(), 2);
  const broken = make(() => Promise.reject(new TypeError("a bug")));
  await t.rejects(Promise.resolve(broken.tokens.check("a")), /a bug/);
});
