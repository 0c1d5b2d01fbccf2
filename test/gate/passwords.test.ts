// What a login costs: comparisons are counted, and held as long as a test wants.

import { verify as bcrypt } from "@node-rs/bcrypt";
import t, { type Test } from "tap";
import { DirectoryDown, type Person } from "../../src/gate/directory.ts";
import type { Users } from "../../src/gate/htpasswd.ts";
import { HtpasswdUsers } from "../../src/gate/htpasswd-users.ts";
import { type Checked, Passwords } from "../../src/gate/passwords.ts";
import { usersOf } from "../fixtures/access.ts";
import { eventually } from "../fixtures/manual-time.ts";

const token = (name: string, password: string): string =>
  Buffer.from(`${name}:${password}`).toString("base64");
const users = usersOf({ alice: "alice-pw", bob: "bob-pw" });

interface Comparison {
  readonly password: string;
  readonly hash: string;
  end(): void;
}

/** `held`: comparisons end when the test says so. */
function setUp(_t: Test, { held = false } = {}) {
  const time = { now: 1_000 };
  const compared: Comparison[] = [];
  const directory = new HtpasswdUsers(users, async (password, hash) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    compared.push({ password: password.toString(), hash, end: resolve });
    if (held) await promise;
    return await bcrypt(password, hash);
  });
  const passwords = new Passwords({ directory, running: 2, clock: () => time.now });
  const use = (users: Users): void => {
    directory.use(users);
    passwords.forget();
  };
  return { time, compared, passwords, use };
}

t.test("a right password is compared once a minute", async (t) => {
  const { time, compared, passwords } = setUp(t);
  t.same(await passwords.check(token("alice", "alice-pw"), "a"), { name: "alice" });
  time.now += 59_999;
  const again = passwords.check(token("alice", "alice-pw"), "b");
  t.same(again, { name: "alice" }, "at once");
  t.equal(compared.length, 1);
  time.now += 2;
  t.same(await passwords.check(token("alice", "alice-pw"), "a"), { name: "alice" });
  t.equal(compared.length, 2, "asking has not made it longer");
});

t.test("what is wrong is never remembered as right, and another password is another question", async (t) => {
  const { compared, passwords } = setUp(t);
  t.equal(await passwords.check(token("alice", "bob-pw"), "a"), "wrong");
  t.same(await passwords.check(token("alice", "alice-pw"), "a"), { name: "alice" });
  t.equal(await passwords.check(token("alice", "alice-pw2"), "a"), "wrong");
  t.equal(await passwords.check(token("alice", ""), "a"), "wrong");
  t.equal(compared.length, 4);
});

t.test("a name that nobody has costs as much as a wrong password, and is nobody's with any", async (t) => {
  const { compared, passwords } = setUp(t);
  for (const name of ["mallory", "eve", "Alice", "constructor", "__proto__"])
    for (const password of ["alice-pw", "bob-pw"]) {
      t.equal(await passwords.check(token(name, password), "a"), "wrong", `${name} ${password}`);
    }
  t.equal(compared.length, 10, "a comparison each");
  const hashes = new Set(users.values());
  t.ok(
    compared.every(({ hash }) => hashes.has(hash)),
    "at the cost of a real one",
  );
  for (let at = 0; at < compared.length; at += 2)
    t.equal(compared[at]?.hash, compared[at + 1]?.hash, "always the same for a name");
});

t.test("the same login is compared once for all who ask meanwhile", async (t) => {
  const { compared, passwords } = setUp(t, { held: true });
  const asking = Array.from({ length: 50 }, () => passwords.check(token("alice", "alice-pw"), "a"));
  await eventually("it is compared", () => compared.length === 1);
  compared[0]?.end();
  t.same(
    await Promise.all(asking),
    Array.from({ length: 50 }, () => ({ name: "alice" })),
  );
  t.equal(compared.length, 1);
});

t.test("two are compared at once, 256 wait, and more are told so", async (t) => {
  const { compared, passwords } = setUp(t, { held: true });
  const ended: (Checked | Promise<Checked>)[] = [];
  const asking = Array.from({ length: 260 }, (_, at) =>
    Promise.resolve(passwords.check(token("alice", `guess ${at}`), `address ${at}`)).then((end) => {
      ended.push(end);
    }),
  );
  await eventually("what is too much is told", () => ended.length === 2);
  t.same(ended, ["busy", "busy"]);
  t.equal(compared.length, 2);
  for (let at = 0; at < 258; at++) {
    await eventually(`${at} is compared`, () => compared.length > at);
    t.ok(compared.length <= at + 2, "never more than two");
    compared[at]?.end();
  }
  await Promise.all(asking);
  t.equal(ended.filter((end) => end === "wrong").length, 258);
});

t.test("an address that guesses is slowed down, and nobody else", async (t) => {
  const { time, compared, passwords } = setUp(t);
  const guess = async (at: number): Promise<Checked> =>
    await passwords.check(token("alice", `guess ${at}`), "bad");
  for (let at = 0; at < 40; at++) t.equal(await guess(at), "wrong");
  t.equal(await guess(40), "too_many");
  t.equal(compared.length, 40);
  t.same(
    await passwords.check(token("alice", "alice-pw"), "good"),
    { name: "alice" },
    "the user is not locked out",
  );
  t.same(passwords.check(token("alice", "alice-pw"), "bad"), { name: "alice" }, "not even there, when known");
  t.equal(await passwords.check(token("bob", "bob-pw"), "bad"), "too_many");
  time.now += 1_000;
  t.same(await passwords.check(token("bob", "bob-pw"), "bad"), { name: "bob" }, "a second later");
  t.equal(await guess(41), "wrong", "what was right has not counted");
  t.equal(await guess(42), "too_many");
  time.now += 3_600_000;
  for (let at = 100; at < 140; at++)
    t.equal(await guess(at), "wrong", "all is forgotten, and no more than all");
  t.equal(await guess(140), "too_many");
});

t.test("other users count at once, for what is remembered and for what is being compared", async (t) => {
  const { compared, passwords, use } = setUp(t, { held: true });
  const before = passwords.check(token("alice", "alice-pw"), "a");
  await eventually("it is compared", () => compared.length === 1);
  use(usersOf({ alice: "another-pw" }));
  compared[0]?.end();
  await eventually("it is compared with the new one", () => compared.length === 2);
  compared[1]?.end();
  t.equal(await before, "wrong");
  const after = passwords.check(token("alice", "another-pw"), "a");
  await eventually("the new one is compared", () => compared.length === 3);
  compared[2]?.end();
  t.same(await after, { name: "alice" });
  use(usersOf({ bob: "bob-pw" }));
  const gone = passwords.check(token("alice", "another-pw"), "a");
  t.type(gone, Promise, "nothing is remembered");
  await eventually("it is compared", () => compared.length === 4);
  compared[3]?.end();
  t.equal(await gone, "wrong");
});

t.test("a long password is what bcrypt takes of it", async (t) => {
  const { passwords, use } = setUp(t);
  const long = "p".repeat(100);
  use(usersOf({ alice: long }));
  t.same(await passwords.check(token("alice", long), "a"), { name: "alice" });
  t.equal(await passwords.check(token("alice", "p".repeat(71)), "a"), "wrong");
});

t.test(
  "a directory that cannot be asked refuses nobody for good, and counts nothing against an address",
  async (t) => {
    const time = { now: 1_000 };
    let person: Person | DirectoryDown = new DirectoryDown("no route to it");
    const passwords = new Passwords({
      directory: {
        find: async () => {
          if (person instanceof DirectoryDown) throw person;
          return person;
        },
      },
      running: 1,
      clock: () => time.now,
    });
    for (let at = 0; at < 50; at++)
      t.equal(await passwords.check(token("alice", `password ${at}`), "a"), "down");
    person = { name: "alice", groups: ["builders"] };
    t.same(await passwords.check(token("alice", "right"), "a"), person);
    person = new DirectoryDown("gone again");
    t.same(
      passwords.check(token("alice", "right"), "a"),
      { name: "alice", groups: ["builders"] },
      "remembered",
    );
    time.now += 60_001;
    t.equal(await passwords.check(token("alice", "right"), "a"), "down");
  },
);
