import t from "tap";
import { configOf, problemsOf, warningsOf } from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";
const hash = `$2y$05$${"a".repeat(53)}`;
const files = { "/etc/htpasswd": `alice:${hash}\n`, "/etc/plain": "alice:{SHA}s3cret\n", "/etc/empty": "\n" };
const htpasswd = "access:\n  mode: htpasswd\n  htpasswdFile: /etc/htpasswd\n";

t.test("nobody is asked unless it is said, and then by the users of a file", async (t) => {
  t.equal(configOf({ yaml: url }).access, undefined);
  t.equal(configOf({ yaml: `${url}access:\n  mode: open\n` }).access, undefined);
  const { access } = configOf({ yaml: url + htpasswd, files });
  t.match(access, { htpasswd: { path: "/etc/htpasswd", name: '"/etc/htpasswd"' }, rules: [] });
  t.same([...(access?.htpasswd?.users ?? [])], [["alice", hash]]);
  const byEnvironment = configOf({
    yaml: url,
    env: { ENTREPOT_ACCESS_MODE: "htpasswd", ENTREPOT_ACCESS_HTPASSWD_FILE: "/etc/htpasswd" },
    files,
  });
  t.ok(byEnvironment.access?.htpasswd);
});

t.test("a mode without its file, a file without its mode", async (t) => {
  t.same(problemsOf({ yaml: `${url}access:\n  mode: htpasswd\n` }), [
    "access.mode (mirror.yaml:4:9): found htpasswd without its users, expected access.htpasswdFile as well",
  ]);
  t.same(problemsOf({ yaml: `${url}access:\n  htpasswdFile: /etc/htpasswd\n`, files }), [
    "access.htpasswdFile (mirror.yaml:4:17): found users whose names nobody is asked for, expected access.mode: htpasswd as well",
  ]);
});

t.test("a file that cannot be used says where and what to do", async (t) => {
  const of = (path: string) => problemsOf({ yaml: url + htpasswd.replace("/etc/htpasswd", path), files });
  t.match(of("/etc/plain"), [
    /^access.htpasswdFile \(mirror.yaml:5:17\): found a file of users in "\/etc\/plain" that cannot be used: line 1 has no bcrypt hash; write it again with htpasswd -B FILE NAME$/,
  ]);
  t.match(of("/etc/empty"), [/it has no users; add one with htpasswd -B/]);
  t.match(of("/etc/absent"), [
    /which cannot be read \(no such file\), expected a file that htpasswd -B has written/,
  ]);
});

t.test("rules grant pull and list unless they say more", async (t) => {
  const yaml = `${url}${htpasswd}  rules:\n    - {}\n    - {users: [ci], repositories: "team/**", tags: v*, networks: 10.0.0.0/8, verbs: [push, DELETE]}\n`;
  t.same(configOf({ yaml, files }).access?.rules, [
    {
      users: [],
      groups: [],
      anonymous: false,
      networks: [],
      upstreams: [],
      repositories: [],
      tags: [],
      verbs: ["pull", "list"],
    },
    {
      users: ["ci"],
      groups: [],
      anonymous: false,
      networks: ["10.0.0.0/8"],
      upstreams: [],
      repositories: ["team/**"],
      tags: ["v*"],
      verbs: ["push", "delete"],
    },
  ]);
});

t.test("rules that say nothing, or what cannot be kept, are refused", async (t) => {
  const named = (rule: string) => problemsOf({ yaml: `${url}${htpasswd}  rules:\n    - ${rule}\n`, files });
  const open = (rule: string) => problemsOf({ yaml: `${url}access:\n  rules:\n    - ${rule}\n` });
  t.match(named("{anonymous: true, repositories: public/**}"), [
    /^access.rules\[0\].anonymous .*docker without a login stops unless it can get a token, and this mirror gives none yet$/,
  ]);
  t.match(named("{groups: [builders]}"), [
    /^access.rules\[0\].groups .*found groups, and nobody is in one: a file of users has none; expected users or nothing$/,
  ]);
  t.match(named("{upstreams: [hub]}"), [/^access.rules\[0\].upstreams\[0\] .*found "hub"/]);
  t.match(named('{repositories: "team/**:v1"}'), [
    /expected a pattern over repositories, such as team\/\*\*, without a colon/,
  ]);
  t.match(named('{repositories: "team/[a"}'), [/with every bracket closed/]);
  t.match(named("{verbs: [write]}"), [/expected one of pull, push, delete, list/]);
  t.match(named('{users: ["a:b"]}'), [/the name of a user, without a colon/]);
  t.match(open("{networks: [10.0.0.0/8]}"), [
    /^access.rules\[0\] .*is for nobody: .*expected anonymous: true$/,
  ]);
  t.match(open("{users: [alice], anonymous: true}"), [/expected access.mode: htpasswd$/]);
  t.same(open("{anonymous: true, networks: [10.0.0.0/8]}"), []);
  t.same(named("{upstreams: [upstream]}"), []);
});

t.test("a name in a rule that nobody has is told", async (t) => {
  const yaml = `${url}${htpasswd}  rules:\n    - {users: [alice, alicia]}\n`;
  t.same(warningsOf({ yaml, files }), [
    "access.rules[0].users[1] (mirror.yaml:7:23): is the name of nobody in access.htpasswdFile",
  ]);
});
