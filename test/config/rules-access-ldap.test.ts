import t from "tap";
import { configOf, problemsOf, warningsOf } from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";
const hash = `$2y$05$${"a".repeat(53)}`;
const files = { "/etc/bind": "bind-pw\n", "/etc/users": `ci:${hash}\n` };
const ldap = (keys: string, more = "") => `${url}access: {mode: ldap, ldap: {${keys}}${more}}\n`;
const places = "urls: ldaps://ldap.example.com, userBase: 'ou=people,dc=example'";

t.test("a directory as it is written", async (t) => {
  const yaml = ldap(
    `${places.replace("ldaps://ldap.example.com", "[ldaps://a.example.com, 'ldap://[::1]:3389']")}, bindDn: 'cn=mirror,dc=example', bindPasswordFile: /etc/bind, groupBase: 'ou=groups,dc=example', timeout: 2s`,
    ", rules: [{groups: [builders], repositories: team/**}]",
  );
  const { access } = configOf({ yaml, files });
  t.match(access, {
    htpasswd: undefined,
    ldap: {
      servers: [
        { host: "a.example.com", port: 636, tls: true },
        { host: "::1", port: 3389, tls: false },
      ],
      startTls: false,
      ca: undefined,
      users: { kind: "search", base: "ou=people,dc=example", filter: "(uid={user})", attribute: "uid" },
      groups: { kind: "search", base: "ou=groups,dc=example", filter: "(member={dn})", attribute: "cn" },
      timeout: 2_000,
    },
    rules: [{ groups: ["builders"], users: [] }],
  });
  const account = access?.ldap?.account;
  t.equal(account?.dn, "cn=mirror,dc=example");
  t.equal((await account?.password.read())?.reveal(), "bind-pw");
});

t.test("a template, groups by an attribute, and robots in a file", async (t) => {
  const yaml = ldap(
    "urls: ldap://localhost, startTls: true, userDn: 'uid={user},ou=people,dc=example', groupBase: 'ou=groups,dc=example', memberOf: memberOf",
    ", htpasswdFile: /etc/users",
  );
  const { access } = configOf({ yaml, files });
  t.match(access?.ldap, {
    startTls: true,
    account: undefined,
    users: { kind: "template", dn: "uid={user},ou=people,dc=example" },
    groups: { kind: "attribute", base: "ou=groups,dc=example", attribute: "memberOf" },
  });
  t.same([...(access?.htpasswd?.users ?? [])], [["ci", hash]]);
});

t.test("a directory that says too little, or two things at once", async (t) => {
  const of = (keys: string) => problemsOf({ yaml: ldap(keys), files });
  t.match(problemsOf({ yaml: `${url}access: {mode: ldap}\n` }), [
    /^access\.mode .*found ldap without its directory, expected access\.ldap\.urls as well$/,
  ]);
  t.match(problemsOf({ yaml: `${url}access: {ldap: {${places}}}\n` }), [
    /^access\.ldap\.urls .*expected access\.mode: ldap as well$/,
  ]);
  t.match(of("urls: ldap://localhost"), [/expected access\.ldap\.userDn or access\.ldap\.userBase as well$/]);
  t.match(of(`${places}, bindDn: 'cn=mirror'`), [
    /^access\.ldap\.bindDn .*expected .*bindPasswordFile as well$/,
  ]);
  t.match(of(`${places}, bindPassword: s3cret`), [
    /^access\.ldap\.bindPassword .*expected access\.ldap\.bindDn as well$/,
  ]);
  t.match(of(`${places}, userDn: 'uid={user},dc=example'`), [
    /^access\.ldap\.userBase .*one way to find users$/,
  ]);
  t.match(of("urls: ldap://localhost, userDn: 'uid={user}', userAttribute: cn"), [
    /^access\.ldap\.userAttribute /,
  ]);
  t.match(of(`${places}, memberOf: memberOf`), [
    /^access\.ldap\.memberOf .*expected access\.ldap\.groupBase as well$/,
  ]);
  t.match(of(`${places}, groupBase: 'dc=example', memberOf: memberOf, groupFilter: '(member={dn})'`), [
    /one way to find groups$/,
  ]);
  t.match(of(`${places}, startTls: true`), [/^access\.ldap\.startTls .*TLS already/]);
});

t.test("texts that are none", async (t) => {
  const of = (keys: string) => problemsOf({ yaml: ldap(keys), files });
  for (const wrong of [
    "http://a",
    "ldap.example.com",
    "ldap://user:s3cret@a",
    "ldap://a/dc=example",
    "ldap://a?sub",
    "ldap://",
    "ldap://a:0",
  ]) {
    const problems = of(`urls: '${wrong}', userBase: 'dc=example'`);
    t.match(problems, [/^access\.ldap\.urls.*expected ldaps:\/\/host, ldap:\/\/host/], wrong);
    t.notMatch(problems.join(), /s3cret/);
  }
  for (const wrong of ["people", "", "=x", "ou="])
    t.match(of(`urls: ldap://localhost, userBase: '${wrong}'`), [/expected the name of an entry/], wrong);
  for (const wrong of [
    "uid={user}",
    "(uid=alice)",
    "(uid={name})",
    "(uid={user}",
    "(uid={user}))",
    "(&(uid={user})(a=b)",
    "(!(uid={user})(a=b))",
    "()(uid={user})",
    "(uid={user}\\)",
    "(uid={dn})",
    "((uid={user}))",
    "(&)(uid={user})",
  ])
    t.match(
      of(`${places}, userFilter: '${wrong}'`),
      [/expected a filter in parentheses with \{user\} in it/],
      wrong,
    );
  for (const right of [
    "(uid={user})",
    "(&(objectClass=person)(|(uid={user})(mail={user}@example.com))(!(a=b*c)))",
    "(cn:caseExactMatch:={user})",
    "(&(a>=1)(b~=\\2a)(uid={user}))",
  ])
    t.same(of(`${places}, userFilter: '${right}'`), [], right);
  t.same(of(`${places}, groupBase: 'dc=x', groupFilter: '(member:1.2.840.113556.1.4.1941:={dn})'`), []);
  t.match(of(`${places}, userAttribute: 'a b'`), [/expected the name of an attribute/]);
});

t.test("passwords in the clear are told, but not on this machine", async (t) => {
  const of = (keys: string) => warningsOf({ yaml: ldap(keys), files });
  const base = "userBase: 'dc=example'";
  t.match(of(`urls: [ldaps://a, ldap://b], ${base}`), [
    /^access\.ldap\.urls\[1\] .*plain ldap: everybody on the way/,
  ]);
  t.same(of(`urls: ldap://b, startTls: true, ${base}`), []);
  t.same(of(`urls: ['ldap://127.0.0.1', 'ldap://localhost', 'ldap://[::1]'], ${base}`), []);
});
