import { generateKeyPairSync } from "node:crypto";
import t from "tap";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { configOf, problemsOf, warningsOf } from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";
const hash = `$2y$05$${"a".repeat(53)}`;
const pem = (type: "ed25519" | "x25519"): string =>
  generateKeyPairSync(type as "ed25519")
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();
const files = {
  "/etc/htpasswd": `alice:${hash}\n`,
  "/etc/plain": "alice:{SHA}s3cret\n",
  "/etc/empty": "\n",
  "/etc/key.pem": pem("ed25519"),
  "/etc/weak.pem": pem("x25519"),
};
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
  t.same(named("{anonymous: true, repositories: public/**}"), []);
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

t.test(
  "tokens are given where mode token says so, or a rule is for the anonymous beside others",
  async (t) => {
    const tokens = (yaml: string) => configOf({ yaml: url + yaml, files }).access?.tokens;
    const usual = { key: undefined, lifetime: 300_000, audience: "entrepot", realm: undefined };
    t.equal(tokens(htpasswd), undefined);
    t.equal(tokens("access:\n  rules:\n    - {anonymous: true}\n"), undefined);
    t.same(tokens(`${htpasswd}  rules:\n    - {anonymous: true}\n`), usual);
    t.same(tokens(htpasswd.replace("mode: htpasswd", "mode: token")), usual);
    const all =
      "  token: {keyFile: /etc/key.pem, lifetime: 2m, audience: mirror, realm: https://mirror.example.com/v2/token}\n";
    t.match(tokens(`${htpasswd.replace("mode: htpasswd", "mode: token")}${all}`), {
      key: { problem: undefined },
      lifetime: 120_000,
      audience: "mirror",
      realm: "https://mirror.example.com/v2/token",
    });
  },
);

t.test("what is wrong with the settings of tokens", async (t) => {
  const token = htpasswd.replace("mode: htpasswd", "mode: token");
  const problems = (yaml: string) => problemsOf({ yaml: url + yaml, files });
  t.same(problems("access:\n  mode: token\n"), [
    "access.mode (mirror.yaml:4:9): found token without its users, expected access.htpasswdFile as well",
  ]);
  t.match(problems(`${htpasswd}  token: {keyFile: /etc/key.pem}\n`), [
    /^access.token.keyFile .*found this where nobody is given a token, expected access.mode: token, or a rule with anonymous: true/,
  ]);
  for (const [setting, says] of [
    [
      "keyFile: /etc/plain",
      /found other content \(not shown\) in "\/etc\/plain", expected a private key in PEM, not encrypted: EC P-256/,
    ],
    ["keyFile: /etc/weak.pem", /expected a private key in PEM/],
    ["keyFile: /etc/absent", /cannot be read \(no such file\), expected a file with the key of tokens/],
    ["lifetime: 59s", /expected at least 1m/],
    ["lifetime: 2h", /expected at most 1h/],
    ["audience: a b", /without spaces, quotes and backslashes/],
    ['audience: "a\\"b"', /without spaces, quotes and backslashes/],
    ["realm: /token", /expected the http or https URL where clients get tokens/],
    ["realm: https://u:p@mirror/token", /expected the http or https URL where clients get tokens/],
    ["realm: https://mirror/token?x=1", /without a query/],
  ] as const)
    t.match(problems(`${token}  token: {${setting}}\n`), [says], setting);
});

t.test("several nodes without a common key of tokens are told", async (t) => {
  const token = htpasswd.replace("mode: htpasswd", "mode: token");
  const several = "redis:\n  url: redis://redis.example.com\n";
  t.same(warningsOf({ yaml: url + token, files }), []);
  t.match(warningsOf({ yaml: url + token + several, files }), [
    /^access.token.keyFile .*not set: each node signs tokens with a key of its own/,
  ]);
  const key = "  token: {keyFile: /etc/key.pem}\n";
  t.same(warningsOf({ yaml: url + token + key + several, files }), []);
});

const keySet = JSON.stringify({
  keys: [{ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }],
});

t.test("another token server: with its keys, its realm and its audience", async (t) => {
  const all =
    "{issuer: harbor-token-issuer, jwksUrl: https://tokens.example.com/keys, realm: https://tokens.example.com/token, audience: mirror}";
  const access = (token: string, more = "") => `${url}access:\n  mode: token\n  token: ${token}\n${more}`;
  const read = configOf({ yaml: access(all) }).access;
  t.match(read, {
    tokens: undefined,
    issuer: {
      issuer: "harbor-token-issuer",
      audience: "mirror",
      realm: "https://tokens.example.com/token",
      keys: { kind: "url", url: new URL("https://tokens.example.com/keys") },
    },
  });
  const files = { "/etc/keys.json": keySet, "/etc/private.json": keySet.replace('"x"', '"d":"s3cret","x"') };
  const inFile = all.replace("jwksUrl: https://tokens.example.com/keys", "jwksFile: /etc/keys.json");
  t.match(configOf({ yaml: access(inFile), files }).access?.issuer?.keys, { kind: "file" });
  const problems = (token: string, more = "") => problemsOf({ yaml: access(token, more), files });
  t.match(problems(inFile.replace("/etc/keys.json", "/etc/private.json")), [
    /found other content \(not shown\) .*expected a key set in JSON, .* and no private one$/,
  ]);
  t.match(problems("{issuer: x, audience: mirror}"), [
    /^access.token.issuer .*found another token server, expected access.token.realm as well$/,
    /^access.token.issuer .*expected access.token.jwksUrl or access.token.jwksFile as well$/,
  ]);
  t.match(problems(all.replace(", audience: mirror", "")), [
    /expected access.token.audience as well: for whom/,
  ]);
  t.match(problems(all.replace("issuer: harbor-token-issuer, ", "")), [
    /^access.mode .*found token without its users/,
    /^access.token.jwksUrl .*expected access.mode: token and access.token.issuer as well$/,
  ]);
  t.match(problems(all.replace("realm", "jwksFile: /etc/keys.json, realm")), [
    /expected one place of its keys$/,
  ]);
  t.match(
    problemsOf({
      yaml: `${access(all)}  htpasswdFile: /etc/htpasswd\n`,
      files: { "/etc/htpasswd": `a:${hash}\n` },
    }),
    [/found this beside another token server, which knows the users and makes the tokens$/],
  );
});

t.test("whom no token of another server limits needs rules: workloads beside it, too", async (t) => {
  const foreign =
    "access:\n  mode: token\n  token: {issuer: i, audience: a, realm: https://t.example.com, jwksUrl: https://t.example.com/k}\n";
  const oidc = "  oidc:\n    - {name: ci, issuer: https://i.example.com, audience: a}\n";
  t.match(problemsOf({ yaml: url + foreign + oidc }), [
    /^access\.oidc\[0\] .*no token limits to anything, expected access\.rules as well$/,
  ]);
  t.same(problemsOf({ yaml: `${url}${foreign}${oidc}  rules: [{}]\n` }), []);
  t.same(problemsOf({ yaml: url + foreign }), [], "alone its tokens say what is allowed");
  const two =
    "upstreams:\n  - {name: a, url: https://a.example.com}\n  - {name: b, url: https://b.example.com}\n";
  t.match(problemsOf({ yaml: two + foreign }), [
    /^access\.token\.issuer .*several registries, expected access\.rules as well: its tokens name repositories/,
  ]);
  t.same(problemsOf({ yaml: `${two}${foreign}  rules: [{}]\n` }), []);
});

t.test("workloads: of each issuer names of its own, and keys that can be found", async (t) => {
  const oidc = (...items: string[]) =>
    `access:\n  mode: token\n  oidc:\n${items.map((each) => `    - {${each}}\n`).join("")}`;
  const github = "name: github, issuer: https://token.actions.githubusercontent.com, audience: mirror";
  const read = configOf({
    yaml: `${url}${oidc(`${github}, claims: {repository: "acme/*"}, groups: repository_owner`)}  rules:\n    - {users: ["github:repo:acme/app:ref:refs/heads/main"], groups: ["github:repository_owner=acme"]}\n`,
  }).access;
  t.match(read, {
    htpasswd: undefined,
    workloads: [
      {
        name: "github",
        issuer: "https://token.actions.githubusercontent.com",
        audience: "mirror",
        claims: { repository: "acme/*" },
        groups: ["repository_owner"],
        keys: { kind: "discovery" },
      },
    ],
  });
  const problems = (yaml: string) => problemsOf({ yaml: url + yaml });
  t.match(problems(oidc(github, github)), [/^access.oidc\[1\].name .*found "github" for two issuers/]);
  t.match(problems(oidc("issuer: kubernetes, audience: mirror")), [/found an issuer that is no URL/]);
  t.match(problems(oidc("issuer: https://x.example.com")), [/access.oidc\[0\]/]);
  t.match(problems(`access:\n  oidc:\n    - {${github}}\n`), [
    /found workloads that nobody asks for their tokens/,
  ]);
  t.match(problems(`${oidc(github)}  rules:\n    - {users: ["gitlab:x"]}\n`), [
    /the name of a user, without a colon$/,
  ]);
  t.match(problems(oidc(`${github}, claims: {repository: "acme/["}`)), [/every bracket closed/]);
});

t.test("a name in a rule that nobody has is told", async (t) => {
  const yaml = `${url}${htpasswd}  rules:\n    - {users: [alice, alicia]}\n`;
  t.same(warningsOf({ yaml, files }), [
    "access.rules[0].users[1] (mirror.yaml:7:23): is the name of nobody in access.htpasswdFile",
  ]);
});

t.test("certificates that name callers, and what they need", { skip: withoutOpenssl() }, async (t) => {
  const identity = new Authority(t.testdir(), "mirror");
  const tls = {
    "/tls.pem": identity.cert,
    "/tls.key": identity.key,
    "/ca.pem": identity.cert,
    ...files,
  };
  const listener = "listenTls: {certFile: /tls.pem, keyFile: /tls.key, clientCaFile: /ca.pem}\n";
  const yaml = (access: string, more = listener) => `${url}${more}access: {${access}}\n`;
  const of = (access: string, more?: string) => problemsOf({ yaml: yaml(access, more), files: tls });
  const rules = 'rules: [{users: ["cert:robot"], groups: ["cert:ci"]}, {repositories: team/**}]';
  const { access, listenTls } = configOf({ yaml: yaml(`clientCertificates: cn, ${rules}`), files: tls });
  t.match(access, { htpasswd: undefined, certificates: { name: "cn", groups: "ou" } });
  t.match(listenTls, { clientCaFile: "/ca.pem", clientsNeedOne: false });
  const required = listener.replace("}", ", clientCertificates: required}");
  t.equal(configOf({ yaml: yaml("mode: open", required), files: tls }).listenTls?.clientsNeedOne, true);
  t.equal(
    configOf({ yaml: yaml("mode: htpasswd, htpasswdFile: /etc/htpasswd"), files: tls }).access?.certificates,
    undefined,
  );
  t.match(of(`clientCertificates: cn, ${rules}`, ""), [
    /^access\.clientCertificates .*expected listenTls\.clientCaFile as well$/,
  ]);
  t.match(of("clientCertificates: uri"), [
    /^access\.clientCertificates .*nothing depends, expected access\.rules/,
  ]);
  t.same(of("mode: htpasswd, htpasswdFile: /etc/htpasswd, clientCertificates: uri"), []);
  t.match(of(rules), [
    /expected access\.mode: htpasswd/,
    /without a colon$/,
    /nobody is in one/,
    /is for nobody/,
  ]);
  t.match(
    of("mode: open", "listenTls: {certFile: /tls.pem, keyFile: /tls.key, clientCertificates: required}\n"),
    [/^listenTls\.clientCertificates .*expected listenTls\.clientCaFile as well$/],
  );
  t.match(of('clientCertificates: cn, rules: [{users: ["other:robot"]}]'), [
    /found "other:robot", .*without a colon$/,
  ]);
  const foreign =
    "mode: token, clientCertificates: cn, token: {issuer: i, audience: a, realm: https://t.example.com, jwksUrl: https://t.example.com/k}";
  t.match(of(foreign), [
    /^access\.clientCertificates .*no token limits to anything, expected access\.rules as well$/,
  ]);
  const oidc = (name: string) =>
    of(`mode: token, oidc: [{name: ${name}, issuer: https://i.example.com, audience: a}]`);
  t.match(oidc("cert"), [/^access\.oidc\[0\]\.name .*it is that of certificates$/]);
  t.same(oidc("ci"), []);
});
