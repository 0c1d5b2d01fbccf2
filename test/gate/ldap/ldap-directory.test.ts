// Who somebody is by a directory of LDAP, asked over real connections to a server that writes down what it hears.
import t, { type Test } from "tap";
import { DirectoryDown } from "../../../src/gate/directory.ts";
import { LdapDirectory, type LdapSettings } from "../../../src/gate/ldap/ldap-directory.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { eventually } from "../../fixtures/manual-time.ts";
import {
  type DirectoryEntry,
  type ScriptedDirectory,
  startDirectory,
} from "../../fixtures/scripted-directory.ts";

const people = "ou=people,dc=example";
const groups = "ou=groups,dc=example";
const mirror = "cn=mirror,dc=example";

function person(uid: string, more: Partial<DirectoryEntry["attributes"]> = {}): DirectoryEntry {
  return {
    dn: `uid=${uid},${people}`,
    password: `${uid}-pw`,
    attributes: { uid: [uid], ...more } as DirectoryEntry["attributes"],
  };
}

const entries: readonly DirectoryEntry[] = [
  { dn: mirror, password: "mirror-pw", attributes: {} },
  person("alice", {
    memberOf: [`cn=builders,${groups}`, `cn=admins,ou=mine,dc=example`, `CN=Readers\\, all,${groups}`],
  }),
  person("bob"),
  { dn: `cn=builders,${groups}`, attributes: { cn: ["builders"], member: [`uid=alice,${people}`] } },
  {
    dn: `cn=both,${groups}`,
    attributes: { cn: ["both"], member: [`uid=alice,${people}`, `uid=bob,${people}`] },
  },
  { dn: "cn=elsewhere,dc=example", attributes: { cn: ["elsewhere"], member: [`uid=alice,${people}`] } },
];

const account = { dn: mirror, password: fixedSecret(new Secret("mirror-pw")) };
const byMember = { kind: "search", base: groups, filter: "(member={dn})", attribute: "cn" } as const;
const bySearch = { kind: "search", base: people, filter: "(uid={user})", attribute: "uid" } as const;
const byTemplate = { kind: "template", dn: `uid={user},${people}` } as const;

function directoryOf(t: Test, servers: readonly ScriptedDirectory[], some: Partial<LdapSettings> = {}) {
  const told: string[] = [];
  const usable: boolean[] = [];
  const directory = new LdapDirectory(
    {
      servers: servers.map(({ server }) => server),
      startTls: false,
      ca: undefined,
      account,
      users: bySearch,
      groups: byMember,
      timeout: 20_000,
      ...some,
    },
    (problem) => told.push(problem),
    (is) => usable.push(is),
  );
  t.teardown(() => directory.close());
  const find = (name: string, password: string) => directory.find(name, Buffer.from(password));
  return { told, usable, find, directory };
}

t.test("somebody found by a search has the groups that name the entry", async (t) => {
  const server = await startDirectory(t, entries);
  const { find, told } = directoryOf(t, [server]);
  t.same(await find("alice", "alice-pw"), { name: "alice", groups: ["builders", "both"] });
  t.same(await find("bob", "bob-pw"), { name: "bob", groups: ["both"] });
  t.equal(await find("alice", "bob-pw"), undefined);
  t.equal(await find("mallory", "alice-pw"), undefined);
  t.equal(await find("mirror", "mirror-pw"), undefined, "what is no user is nobody");
  t.same(told, []);
  const searches = server.asked.filter(({ what }) => what === "search");
  t.ok(
    searches.every(({ as }) => as === mirror),
    "all searches are the account's",
  );
  t.equal(new Set(server.asked.map(({ connection }) => connection)).size, 1, "one after the other over one");
});

t.test("somebody named by a template, without an account", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server], { account: undefined, users: byTemplate });
  t.same(await find("alice", "alice-pw"), { name: "alice", groups: ["builders", "both"] });
  t.equal(await find("alice", "guess"), undefined);
  t.equal(await find("mallory", "guess"), undefined);
  t.same(
    server.asked.map(({ what, dn, as }) => [what, dn, as]),
    [
      ["bind", `uid=alice,${people}`, ""],
      ["search", `uid=alice,${people}`, `uid=alice,${people}`],
      ["search", groups, `uid=alice,${people}`],
      ["bind", `uid=alice,${people}`, `uid=alice,${people}`],
      ["bind", `uid=mallory,${people}`, ""],
    ],
  );
});

t.test(
  "somebody named by a template is called as the directory has it, however that was typed",
  async (t) => {
    const server = await startDirectory(t, entries);
    for (const account of [undefined, { dn: mirror, password: fixedSecret(new Secret("mirror-pw")) }]) {
      const { find, told } = directoryOf(t, [server], { account, users: byTemplate });
      const alice = { name: "alice", groups: ["builders", "both"] };
      for (const typed of ["alice", "Alice", "ALICE"]) t.same(await find(typed, "alice-pw"), alice, typed);
      t.equal(await find("Alice", "guess"), undefined);
      t.same(told, []);
    }
  },
);

t.test("somebody whose own entry cannot be read is nobody, and why is told", async (t) => {
  const server = await startDirectory(t, entries);
  const { find, told } = directoryOf(t, [server], {
    account: undefined,
    users: byTemplate,
    groups: undefined,
  });
  for (const code of [32, 50]) {
    server.says = ({ what }) => (what === "search" ? code : undefined);
    t.equal(await find("alice", "alice-pw"), undefined, `${code}`);
  }
  t.same(new Set(told).size, 1);
  t.match(told[0], /access\.ldap\.userDn .*let users read their own entries/);
  server.says = ({ what }) => (what === "search" ? 51 : undefined);
  await t.rejects(find("alice", "alice-pw"), DirectoryDown, "any other failure says nothing of who it is");
});

t.test("that the directory can be asked, or not, is told when it changes", async (t) => {
  const server = await startDirectory(t, entries);
  const { find, usable } = directoryOf(t, [server]);
  for (const name of ["alice", "bob", "mallory"]) await find(name, `${name}-pw`);
  t.same(usable, [true], "whoever it is that asks");
  server.says = () => 51;
  for (const name of ["alice", "bob"]) await t.rejects(find(name, `${name}-pw`), DirectoryDown);
  t.same(usable, [true, false]);
  server.says = () => undefined;
  await find("alice", "wrong");
  t.same(usable, [true, false, true]);
});

t.test("a search without an account is never somebody else's", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server], { account: undefined });
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  t.match(await find("bob", "bob-pw"), { name: "bob" });
  const users = server.asked.filter(({ what, dn }) => what === "search" && dn === people);
  t.same(
    users.map(({ as, connection }) => [as, connection]),
    [
      ["", 0],
      ["", 1],
    ],
  );
});

t.test("groups that an attribute of the user names, of those below the base", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server], {
    groups: { kind: "attribute", base: groups, filter: "", attribute: "memberof" },
  });
  t.same(await find("alice", "alice-pw"), { name: "alice", groups: ["builders", "Readers, all"] });
  t.same(await find("bob", "bob-pw"), { name: "bob", groups: [] });
});

t.test("without a password nobody logs in, and nobody is asked", async (t) => {
  const server = await startDirectory(t, entries);
  for (const users of [bySearch, byTemplate]) {
    const { find, directory } = directoryOf(t, [server], { users });
    t.equal(await find("alice", ""), undefined);
    t.equal(await find("mirror", ""), undefined);
    t.equal(await directory.find("alice", Buffer.from([0xff, 0xfe])), undefined, "what is no text");
  }
  t.same(server.asked, []);
});

t.test("no name is a pattern, another part of a filter or another entry", async (t) => {
  const server = await startDirectory(t, [...entries, person("a*"), person("x)(uid=alice")]);
  const hostile = [
    "*",
    "a*",
    "al*",
    "alice)(uid=*",
    "alice)(|(uid=*",
    "*)(objectClass=*",
    "alice\\2a",
    "alice\0",
    "alice\\",
    "alice,ou=people",
    `alice,${people}`,
    "alice+cn=x",
    'alice"',
    "alice;",
    " alice",
    "#alice",
    "EXTERNAL",
    "{user}",
    "{dn}",
    "$&",
    "__proto__",
    "alice\n",
    "ａlice",
  ];
  for (const users of [bySearch, byTemplate]) {
    const { find, told } = directoryOf(t, [server], { users });
    for (const name of hostile) t.equal(await find(name, "alice-pw"), undefined, JSON.stringify(name));
    t.same(told, []);
  }
  for (const { what, dn, filter = "", as } of server.asked) {
    if (what === "bind" && dn !== mirror && dn !== people) t.match(dn, /^uid=.+,ou=people,dc=example$/);
    if (what === "search" && dn === people) {
      t.equal(as, mirror);
      t.notMatch(filter.slice(1, -1), /[()*]/, "one comparison, of one value");
    }
  }
  const { find } = directoryOf(t, [server]);
  t.match(await find("a*", "a*-pw"), { name: "a*" }, "who is called so is found");
});

t.test("the name is the directory's, however it was typed", async (t) => {
  const server = await startDirectory(t, [
    ...entries,
    person("carol", { mail: ["ci"] }),
    person("dave", { uid: ["dave", "dd"] }),
    person("odd", { uid: ["cert:odd"] }),
  ]);
  const { find, told } = directoryOf(t, [server], {
    users: { ...bySearch, filter: "(|(uid={user})(mail={user}))" },
  });
  t.match(await find("ALICE", "alice-pw"), { name: "alice" });
  t.match(await find("ci", "carol-pw"), { name: "carol" }, "found by what she may change herself");
  t.match(await find("DD", "dave-pw"), { name: "dd" });
  t.same(told, []);
  server.entries = [person("odd", { uid: ["cert:odd"], mail: ["odd"] }), ...entries];
  t.equal(await find("odd", "odd-pw"), undefined, "a name that nobody can send");
  t.match(told, [/no single uid that can be a name/]);
});

t.test("a name with several entries is nobody's", async (t) => {
  const twin: DirectoryEntry = { ...person("alice"), dn: `uid=alice,ou=more,${people}` };
  const server = await startDirectory(t, [...entries, twin, { ...twin, dn: `uid=alice,ou=most,${people}` }]);
  const { find, told } = directoryOf(t, [server]);
  t.equal(await find("alice", "alice-pw"), undefined);
  t.match(told, [/several entries/]);
  t.notOk(told.join().includes("alice"), "the log is not told by whom");
});

t.test("a name that nobody has is asked as often as a wrong password", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server]);
  const shapeOf = async (name: string): Promise<string[]> => {
    const from = server.asked.length;
    t.equal(await find(name, "guess"), undefined);
    return server.asked.slice(from).map(({ what }) => what);
  };
  t.same(await shapeOf("mallory"), await shapeOf("alice"));
});

t.test("codes of an answer to a bind: whose fault it is", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server]);
  const answered = (code: number): void => {
    server.says = ({ what, dn }) => (what === "bind" && dn !== mirror ? code : undefined);
  };
  for (const code of [19, 32, 34, 48, 49, 50, 53]) {
    answered(code);
    t.equal(await find("alice", "alice-pw"), undefined, `${code}: the user's`);
  }
  // operationsError, strongerAuthRequired, referral, confidentialityRequired, saslBindInProgress, busy, unavailable, other
  for (const code of [1, 8, 10, 13, 14, 51, 52, 80]) {
    answered(code);
    await t.rejects(find("alice", "alice-pw"), DirectoryDown, `${code}: the server's`);
  }
});

t.test("a referral is not followed", async (t) => {
  const other = await startDirectory(t, entries);
  const server = await startDirectory(t, entries);
  server.says = ({ what }) => (what === "search" ? 10 : undefined);
  const { find } = directoryOf(t, [server]);
  await t.rejects(find("alice", "alice-pw"), DirectoryDown);
  t.same(other.asked, []);
});

t.test("a server that is gone: the next is asked, and stays the first", async (t) => {
  const [first, second] = [await startDirectory(t, entries), await startDirectory(t, entries)];
  const { find, told } = directoryOf(t, [first, second]);
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  t.equal(second.asked.length, 0);
  await first.stop();
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  t.match(await find("bob", "bob-pw"), { name: "bob" });
  t.equal(told.length, 1, "the first is not asked again");
  t.match(told, [`ldap://127.0.0.1:${first.server.port}: ECONNREFUSED`]);
  await second.stop();
  await t.rejects(find("alice", "alice-pw"), {
    name: "DirectoryDown",
    message: /ECONNREFUSED; ldap:.*ECONNREFUSED$/,
  });
});

t.test("a connection that was closed meanwhile is no failure of its server", async (t) => {
  const server = await startDirectory(t, entries);
  const { find, told } = directoryOf(t, [server]);
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  server.endConnections();
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  let ended = false;
  server.says = ({ what }) => {
    if (ended || what !== "bind") return undefined;
    ended = true;
    return "end";
  };
  t.match(await find("alice", "alice-pw"), { name: "alice" }, "as it is used again");
  t.same(told, []);
});

t.test("a connection that ends is never opened again behind our back", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server]);
  server.says = ({ what, dn }) => (what === "bind" && dn === mirror ? undefined : "end");
  await t.rejects(find("alice", "alice-pw"), DirectoryDown);
  t.same(
    server.asked.map(({ what, as }) => [what, as]),
    [
      ["bind", ""],
      ["search", mirror],
    ],
    "nothing goes out on another one, on which nobody is the account",
  );
});

t.test("a server that says nothing is given up, the connection with it", async (t) => {
  const silent = await startDirectory(t, entries);
  silent.says = () => "silence";
  const { find, told } = directoryOf(t, [silent], { timeout: 50 });
  await t.rejects(find("alice", "alice-pw"), DirectoryDown);
  t.match(told, [/^ldap:\/\/127\.0\.0\.1:\d+: no answer within 50 ms$/]);
  await eventually("its connection has ended", () => silent.connections() === 0);
});

t.test("an account that is refused is told, and the password of now is used", async (t) => {
  const server = await startDirectory(t, entries);
  let password = "old-pw";
  const changing = { read: () => new Secret(password), problem: undefined };
  const { find, told } = directoryOf(t, [server], { account: { dn: mirror, password: changing } });
  await t.rejects(find("alice", "alice-pw"), {
    name: "DirectoryDown",
    message: /: it refuses access\.ldap\.bindDn and its password$/,
  });
  password = "mirror-pw";
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  t.notMatch(told.join(), /old-pw|mirror-pw|alice-pw|nobody may see/);
});

t.test("logins at the same time have connections of their own", async (t) => {
  const server = await startDirectory(t, entries);
  const { find } = directoryOf(t, [server]);
  const names = ["alice", "bob", "alice", "bob", "mallory"];
  const found = await Promise.all(names.map((name) => find(name, `${name}-pw`)));
  t.same(
    found.map((each) => each?.name),
    ["alice", "bob", "alice", "bob", undefined],
  );
  const asUser = server.asked.filter(({ what, as }) => what === "search" && as !== mirror);
  t.same(asUser, [], "nobody's search is another's");
  t.equal(new Set(server.asked.map(({ connection }) => connection)).size, names.length);
});

t.test("closed, it keeps no connection, and a login under way ends well", async (t) => {
  const server = await startDirectory(t, entries);
  const { find, directory } = directoryOf(t, [server]);
  t.match(await find("alice", "alice-pw"), { name: "alice" });
  const asking = find("bob", "bob-pw");
  directory.close();
  t.match(await asking, { name: "bob" });
  await eventually("all connections have ended", () => server.connections() === 0);
});
