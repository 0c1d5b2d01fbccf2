import t from "tap";
import { ProvedRights, type Verdict } from "../../src/gate/proved-rights.ts";
import type { CallerCredentials } from "../../src/ports/caller-credentials.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../src/ports/upstream.ts";
import type { AccountAnswer } from "../../src/ports/upstream-answer.ts";
import { login } from "../fixtures/access.ts";

const minute = 60_000;
const lifetime = 5 * minute;
const hour = 60 * minute;

function setUp() {
  const time = { now: 0 };
  const rights = new ProvedRights({ lifetime, clock: () => 1e9 + time.now });
  const asked: string[] = [];
  let answer: () => AccountAnswer | Promise<AccountAnswer> = () => ({ kind: "found" });
  const who = (name: string): CallerCredentials => {
    const credentials = rights.credentialsIn(login(name, `${name}-pw`).authorization);
    if (credentials === undefined) throw new Error("no credentials");
    return credentials;
  };
  const check = async (name: string, scope = "far/app", thing = "manifest 1"): Promise<Verdict> =>
    rights.check(who(name), "10.0.0.1", {
      scope,
      thing,
      ask: async () => {
        asked.push(`${name} ${scope} ${thing}`);
        return answer();
      },
    });
  const kinds = async (...args: Parameters<typeof check>) => {
    const verdict = await check(...args);
    return typeof verdict === "string" ? verdict : verdict.kind;
  };
  return {
    time,
    rights,
    asked,
    who,
    check,
    kinds,
    answers: (next: typeof answer) => {
      answer = next;
    },
    fails: (code: UpstreamErrorCode) => {
      answer = () => {
        throw new UpstreamError(code, "it fails");
      };
    },
  };
}

t.test("a proof is of one caller for one scope, and ends", async (t) => {
  const { time, asked, kinds, rights, who } = setUp();
  t.equal(await kinds("alice"), "proved");
  t.equal(await kinds("alice", "far/app", "blob x"), "proved");
  t.equal(asked.length, 1, "another thing of the same scope is not asked for");
  t.ok(rights.holds(who("alice"), "far/app"));
  t.notOk(rights.holds(who("alice"), "far/other"));
  t.notOk(rights.holds(who("bob"), "far/app"));
  await kinds("alice", "far/other");
  await kinds("bob");
  t.equal(asked.length, 3);
  time.now = lifetime - 1;
  await kinds("alice");
  t.equal(asked.length, 3);
  time.now = lifetime;
  t.notOk(rights.holds(who("alice"), "far/app"));
  await kinds("alice");
  t.equal(asked.length, 4);
});

t.test("what is remembered is there at once", (t) => {
  const { rights, who } = setUp();
  const asked = { scope: "far/app", thing: "x", ask: async () => ({ kind: "found" }) as const };
  const first = rights.check(who("alice"), "10.0.0.1", asked);
  t.ok(first instanceof Promise);
  return Promise.resolve(first).then(() => {
    t.notOk(rights.check(who("alice"), "10.0.0.1", asked) instanceof Promise);
  });
});

t.test(
  "a refusal is remembered for ten seconds, for what was asked; one of the account for everything",
  async (t) => {
    const { time, asked, kinds, answers } = setUp();
    answers(() => ({ kind: "absent" }));
    t.equal(await kinds("alice"), "absent");
    t.equal(await kinds("alice"), "absent");
    t.equal(asked.length, 1);
    t.equal(await kinds("alice", "far/app", "manifest 2"), "absent");
    t.equal(asked.length, 2, "another thing may be there");
    time.now = 10_001;
    await kinds("alice");
    t.equal(asked.length, 3);
    answers(() => ({ kind: "denied", status: 401 }));
    asked.length = 0;
    t.equal(await kinds("bob"), "denied");
    t.equal(await kinds("bob", "far/app", "manifest 2"), "denied");
    t.equal(asked.length, 1);
  },
);

t.test("what was written is asked for again", async (t) => {
  const { asked, kinds, answers, rights } = setUp();
  answers(() => ({ kind: "absent" }));
  await kinds("alice");
  answers(() => ({ kind: "found" }));
  rights.forgetRefusals();
  t.equal(await kinds("alice"), "proved");
  const gate = Promise.withResolvers<AccountAnswer>();
  answers(() => gate.promise);
  const late = kinds("bob");
  rights.forgetRefusals();
  gate.resolve({ kind: "absent" });
  t.equal(await late, "absent");
  asked.length = 0;
  await kinds("bob");
  t.equal(asked.length, 1, "a refusal of before the write is not remembered after it");
});

t.test("one proof is under way for the same credentials and scope", async (t) => {
  const { asked, kinds, answers } = setUp();
  const gate = Promise.withResolvers<AccountAnswer>();
  answers(() => gate.promise);
  const all = [kinds("alice"), kinds("alice", "far/app", "blob x"), kinds("alice"), kinds("bob")];
  await new Promise(setImmediate);
  t.same(asked, ["alice far/app manifest 1", "bob far/app manifest 1"]);
  gate.resolve({ kind: "found" });
  t.same(await Promise.all(all), ["proved", "proved", "proved", "proved"]);
  t.equal(asked.length, 2);
});

t.test("when it is refused, what else was asked for meanwhile is asked for after it", async (t) => {
  const { asked, kinds, answers } = setUp();
  const answersInTurn: AccountAnswer[] = [{ kind: "absent" }, { kind: "found" }];
  answers(async () => {
    await new Promise(setImmediate);
    return answersInTurn.shift() ?? { kind: "denied" };
  });
  const all = [
    kinds("alice"),
    kinds("alice"),
    kinds("alice", "far/app", "blob x"),
    kinds("alice", "far/app", "blob y"),
  ];
  t.same(await Promise.all(all), ["absent", "absent", "proved", "proved"]);
  t.same(asked, ["alice far/app manifest 1", "alice far/app blob x"]);
});

const outages = [
  "unreachable",
  "timeout",
  "truncated",
  "rate_limited",
  "server_error",
  "circuit_open",
] as const;
for (const code of outages)
  t.test(`an outage (${code}) extends a proof by an hour at most, and makes none`, async (t) => {
    const { time, kinds, fails, answers } = setUp();
    t.equal(await kinds("alice"), "proved");
    fails(code);
    await t.rejects(kinds("bob"), { code });
    await t.rejects(kinds("alice", "far/other"), { code });
    for (time.now = lifetime; time.now < lifetime + hour; time.now += 4 * minute)
      t.equal(await kinds("alice"), "proved");
    time.now = lifetime + hour - 1;
    t.equal(await kinds("alice"), "proved");
    time.now = lifetime + hour;
    await t.rejects(kinds("alice"), { code });
    answers(() => ({ kind: "found" }));
    t.equal(await kinds("alice"), "proved");
  });

t.test("an extended proof is tried again after ten seconds", async (t) => {
  const { time, asked, kinds, fails, answers } = setUp();
  await kinds("alice");
  fails("server_error");
  time.now = lifetime;
  await kinds("alice");
  await kinds("alice");
  t.equal(asked.length, 2);
  time.now += 10_000;
  answers(() => ({ kind: "denied" }));
  t.equal(await kinds("alice"), "denied", "the outage is over");
  fails("server_error");
  time.now += 10_001;
  await t.rejects(kinds("alice"), { code: "server_error" }, "what was refused is extended no more");
});

t.test("an answer that is not understood is no outage", async (t) => {
  for (const code of ["protocol", "auth", "local", "loop", "redirect_refused"] as const) {
    const { time, kinds, fails } = setUp();
    await kinds("alice");
    fails(code);
    time.now = lifetime;
    await t.rejects(kinds("alice"), { code });
  }
});

t.test("who guesses is stopped, for the address and not for the user", async (t) => {
  const { time, rights, asked } = setUp();
  const guess = (n: number, network = "10.0.0.1") => {
    const credentials = rights.credentialsIn(login("alice", `guess ${n}`).authorization) as CallerCredentials;
    const ask = async () => {
      asked.push(String(n));
      return { kind: "denied", status: 401 } as const;
    };
    return rights.check(credentials, network, { scope: "far/app", thing: "x", ask });
  };
  for (let n = 0; n < 256; n++) t.match(await guess(n), { status: 401 });
  t.equal(await guess(256), "too_many");
  t.equal(asked.length, 256, "upstream does not hear of it");
  t.match(await guess(257, "10.0.0.2"), { status: 401 });
  time.now = 1_000;
  t.match(await guess(258), { status: 401 }, "one more a second");
  t.equal(await guess(259), "too_many");
});

t.test("what cannot be sent on as it was meant is nobody's, and upstream does not hear of it", async (t) => {
  const { rights } = setUp();
  for (const bytes of [
    Buffer.from("no colon"),
    Buffer.from([0x61, 0x3a, 0xff, 0xfe]),
    Buffer.from("a:b\nc"),
  ]) {
    const credentials = rights.credentialsIn(`Basic ${bytes.toString("base64")}`) as CallerCredentials;
    const ask = async () => t.fail("it was asked") as never;
    t.match(await rights.check(credentials, "10.0.0.1", { scope: "s", thing: "x", ask }), { status: 401 });
  }
  for (const header of [undefined, "", "Bearer abc", "Basic", "Basic !!"])
    t.equal(rights.credentialsIn(header), undefined);
});

t.test("another lifetime asks anew", async (t) => {
  const { rights, kinds, asked, time } = setUp();
  await kinds("alice");
  rights.believeFor(lifetime);
  await kinds("alice");
  t.equal(asked.length, 1);
  rights.believeFor(minute);
  await kinds("alice");
  t.equal(asked.length, 2);
  time.now = minute;
  await kinds("alice");
  t.equal(asked.length, 3);
});

t.test("credentials are printed by nothing", (t) => {
  const { who } = setUp();
  const credentials = who("alice");
  t.notMatch(JSON.stringify(credentials), /alice/);
  t.notMatch(String(credentials), /alice/);
  t.same(credentials.reveal(), { name: "alice", password: "alice-pw" });
  t.end();
});
