// Whom a certificate names, and that nobody else can be it.
import { verify } from "@node-rs/bcrypt";
import fc from "fast-check";
import t from "tap";
import { AccessRules } from "../../src/gate/access-rules.ts";
import {
  type CertificateNames,
  type CertificateNaming,
  callerOfKey,
  certifiedCaller,
} from "../../src/gate/certificate-caller.ts";
import type { Directory } from "../../src/gate/directory.ts";
import { Admitted, Gate } from "../../src/gate/gate.ts";
import { HtpasswdUsers } from "../../src/gate/htpasswd-users.ts";
import { Passwords } from "../../src/gate/passwords.ts";
import { login, rule, usersOf } from "../fixtures/access.ts";

const byName: CertificateNaming = { name: "cn", groups: "ou" };
const client = { address: "10.0.0.1", network: "10.0.0.1" };

const personOf = (names: CertificateNames, naming: Partial<CertificateNaming> = {}) =>
  certifiedCaller(names, { ...byName, ...naming })?.person;

t.test("names and groups are marked as those of certificates", async (t) => {
  const subject = { CN: "build-1", OU: ["builders", "ci"], O: "Example" };
  t.same(personOf({ subject }), { name: "cert:build-1", groups: ["cert:builders", "cert:ci"] });
  t.same(personOf({ subject }, { groups: "o" }), { name: "cert:build-1", groups: ["cert:Example"] });
  t.same(personOf({ subject }, { groups: "none" }), { name: "cert:build-1", groups: [] });
  t.same(personOf({ subject: { CN: "a b, c" } }), { name: "cert:a b, c", groups: [] });
});

t.test("alternative names of the kind that counts", async (t) => {
  const names = {
    subject: { CN: "other" },
    subjectaltname:
      "DNS:ci.example.com, URI:spiffe://example.com/ci, email:ci@example.com, IP Address:10.0.0.1",
  };
  t.equal(personOf(names, { name: "dns" })?.name, "cert:ci.example.com");
  t.equal(personOf(names, { name: "uri" })?.name, "cert:spiffe://example.com/ci");
  t.equal(personOf(names, { name: "email" })?.name, "cert:ci@example.com");
  t.equal(personOf({ subject: {} }, { name: "dns" }), undefined);
});

t.test("what could be taken for another name names nobody", async (t) => {
  const subjects: CertificateNames["subject"][] = [
    {},
    { CN: "" },
    { CN: [] },
    { CN: ["alice", "bob"] },
    { CN: "alice\0.example.com" },
    { CN: "alice\n" },
    { CN: "a".repeat(256) },
    { CN: "alice", OU: "team\0" },
    { CN: "alice", OU: Array.from({ length: 33 }, (_, at) => `team-${at}`) },
    Object.create({ CN: "inherited" }),
  ];
  for (const subject of subjects) t.equal(personOf({ subject }), undefined, JSON.stringify(subject));
  for (const subjectaltname of [
    "DNS:a.example.com, DNS:b.example.com",
    'DNS:"a.example.com, DNS:evil.example.com, b"',
    'DNS:a.example.com, URI:"x"',
    "DNS:",
    "",
  ])
    t.equal(personOf({ subject: {}, subjectaltname }, { name: "dns" }), undefined, subjectaltname);
});

t.test("a key stands for one name and its groups", async (t) => {
  const text = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 20 })
    .filter((each) => !/\p{Cc}/u.test(each));
  const names = fc.record({ CN: text, OU: fc.array(text, { maxLength: 3 }) });
  fc.assert(
    fc.property(names, names, (one, other) => {
      const [a, b] = [one, other].map((subject) => certifiedCaller({ subject }, byName));
      const isSame = JSON.stringify([one.CN, one.OU]) === JSON.stringify([other.CN, other.OU]);
      return (
        a !== undefined &&
        /^[\w-]+$/.test(a.key) &&
        JSON.stringify(callerOfKey(a.key)) === JSON.stringify(a) &&
        (a.key === b?.key) === isSame
      );
    }),
  );
  t.equal(callerOfKey(""), undefined);
});

const robot = certifiedCaller({ subject: { CN: "robot", OU: "ci" } }, byName);

t.test("credentials that are sent go before a certificate, right or wrong", async (t) => {
  const directory = new HtpasswdUsers(usersOf({ robot: "pw" }), verify);
  const passwords = new Passwords({ directory, running: 2, clock: () => 1_000 });
  const gate = new Gate({ rules: new AccessRules([]), passwords });
  const admit = async (authorization?: string) => {
    const admitted = await gate.admit(authorization, client, robot);
    return admitted instanceof Admitted ? admitted.caller : admitted;
  };
  t.same(await admit(), { name: "cert:robot", groups: ["cert:ci"], address: "10.0.0.1" });
  t.match(await admit(login("robot", "pw").authorization), { name: "robot", groups: [] });
  t.equal(await admit(login("robot", "guess").authorization), "wrong");
  t.equal(await admit("Bearer x"), "unknown");
  t.equal(await gate.admit(undefined, client), "unknown");
});

t.test("where nobody is asked a certificate names its client, whatever else is sent", async (t) => {
  const rules = new AccessRules([
    rule({ anonymous: true, repositories: ["public/**"] }),
    rule({ users: ["cert:robot"] }),
  ]);
  const gate = new Gate({ rules });
  for (const authorization of [undefined, login("robot", "x").authorization]) {
    t.match(await gate.admit(authorization, client, robot), { caller: { name: "cert:robot" } });
    t.match(await gate.admit(authorization, client), { caller: { name: undefined } });
  }
});

t.test("no directory makes anybody of a certificate, nor a member of its groups", async (t) => {
  const people: Record<string, { name: string; groups: string[] }> = {
    mallory: { name: "cert:robot", groups: [] },
    eve: { name: "eve", groups: ["cert:ci", "staff"] },
  };
  const directory: Directory = { find: async (name) => people[name] };
  const passwords = new Passwords({ directory, running: 2, clock: () => 1_000 });
  const gate = new Gate({ rules: new AccessRules([]), passwords });
  const callerOf = async (name: string) => {
    const admitted = await gate.admit(login(name, "pw").authorization, client);
    return admitted instanceof Admitted ? admitted.caller : admitted;
  };
  t.match(await callerOf("mallory"), { name: undefined, groups: [] });
  t.match(await callerOf("eve"), { name: "eve", groups: ["staff"] });
});
