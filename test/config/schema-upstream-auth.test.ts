import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  configOf,
  type Given,
  passwordOf,
  problemsOf,
  upstreamsYaml,
  upstreamUrl,
} from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";
const authOf = (given: Given) => configOf(given).upstreams[0].auth;

t.test("a user name and a password come together", async (t) => {
  t.same(problemsOf({ yaml: `${url}  username: u\n` }), [
    "upstream.username (mirror.yaml:3:13): found a user name without a password, expected upstream.password or upstream.passwordFile as well",
  ]);
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_UPSTREAM_PASSWORD: "hunter2" } }), [
    "ENTREPOT_UPSTREAM_PASSWORD: found a password without a user name, expected upstream.username as well",
  ]);
  t.match(problemsOf({ yaml: `${url}  passwordFile: /p\n`, files: { "/p": "x" } }), [/without a user name/]);
  t.same(problemsOf({ yaml: `${url}  username: u\n`, env: { ENTREPOT_UPSTREAM_PASSWORD: "p" } }), []);
});

t.test("a secret and a file with it exclude each other", async (t) => {
  const yaml = `${url}  username: u\n  passwordFile: /p\n`;
  t.same(problemsOf({ yaml, env: { ENTREPOT_UPSTREAM_PASSWORD: "hunter2" }, files: { "/p": "hunter2" } }), [
    "upstream.passwordFile (mirror.yaml:4:17): found both this and ENTREPOT_UPSTREAM_PASSWORD, expected only one of the two",
  ]);
  const header = `${url}  authorization: Bearer hunter2\n  authorizationFile: /p\n`;
  t.same(problemsOf({ yaml: header, files: { "/p": "Bearer x" } }), [
    "upstream.authorizationFile (mirror.yaml:4:22): found both this and upstream.authorization, expected only one of the two",
  ]);
});

t.test("there is one way to log in, with the place of every other", async (t) => {
  const yaml = `${url}  username: u\n  password: p\n  authorization: Bearer x\n  credentialHelper: pass\n`;
  t.same(problemsOf({ yaml }), [
    "upstream.authorization (mirror.yaml:5:18): found both this and upstream.username, expected one way to log in",
    "upstream.credentialHelper (mirror.yaml:6:21): found both this and upstream.username, expected one way to log in",
  ]);
});

t.test("in a list the keys are those of the item", async (t) => {
  const item = "name: a, url: https://registry.example.com";
  t.same(problemsOf({ yaml: upstreamsYaml(`${item}, username: u`) }), [
    "upstreams[0].username (mirror.yaml:2:60): found a user name without a password, expected upstreams[0].password or upstreams[0].passwordFile as well",
  ]);
});

t.test("a whole header, given directly or in a file that is read again", async (t) => {
  const direct = authOf({ yaml: `${url}  authorization: Token xyz=\n` });
  t.equal(direct.kind === "header" && (await direct.value.read()).reveal(), "Token xyz=");
  const path = join(t.testdir({ token: "Bearer one\n" }), "token");
  const file = authOf({ yaml: `${url}  authorizationFile: ${path}\n`, files: { [path]: "Bearer one\n" } });
  writeFileSync(path, "Bearer two\n");
  t.equal(file.kind === "header" && (await file.value.read()).reveal(), "Bearer two");
});

t.test("a header needs its scheme, and is never shown", async (t) => {
  for (const value of ["hunter2", '"Bearer hunter2\\nX: y"', "Bearer hünter2"]) {
    const [problem = ""] = problemsOf({ yaml: `${url}  authorization: ${value}\n` });
    t.match(problem, /found a value that is not shown, expected a scheme and what belongs to it/);
  }
  t.same(problemsOf({ yaml: `${url}  authorizationFile: /t\n`, files: { "/t": "hunter2\n" } }), [
    'upstream.authorizationFile (mirror.yaml:3:22): found other content (not shown) in "/t", expected a scheme and what belongs to it, on one line, such as Bearer TOKEN',
  ]);
});

t.test(
  "a credential helper is asked for the registry's host, or what docker login calls Docker Hub",
  async (t) => {
    t.same(authOf({ yaml: `${url}  credentialHelper: pass\n` }), {
      kind: "helper",
      program: "pass",
      registry: "registry.example.com",
      lifetime: 600_000,
    });
    t.match(
      authOf({ yaml: "upstream: {url: https://registry-1.docker.io, credentialHelper: /usr/bin/x}\n" }),
      {
        program: "/usr/bin/x",
        registry: "https://index.docker.io/v1/",
      },
    );
    const more = "  credentialHelperRegistry: https://other.example.com\n  credentialHelperLifetime: 1h\n";
    t.match(authOf({ yaml: `${url}  credentialHelper: pass\n${more}` }), {
      registry: "https://other.example.com",
      lifetime: 3_600_000,
    });
  },
);

t.test("what belongs to a helper needs one", async (t) => {
  t.same(problemsOf({ yaml: `${url}  credentialHelperLifetime: 1h\n` }), [
    "upstream.credentialHelperLifetime (mirror.yaml:3:29): found this alone, expected upstream.credentialHelper as well",
  ]);
  t.match(problemsOf({ yaml: `${url}  credentialHelper: bin/x\n` }), [/absolute path/]);
});

t.test(
  "the key of a service account is a password as it was downloaded: JSON of several lines",
  async (t) => {
    const key = (line: string) =>
      `{${line}  "type": "service_account",${line}\t"private_key": "-----BEGIN-----\\nAAAA\\n-----END-----\\n"${line}}`;
    for (const line of ["\n", "\r\n"]) {
      const file = { "/key.json": `${key(line)}${line}${line}` };
      const yaml = `${url}  username: _json_key\n  passwordFile: /key.json\n`;
      t.equal(
        await passwordOf(configOf({ yaml, files: file })),
        key(line),
        "without the newlines at its end",
      );
    }
    const block = `${url}  username: _json_key\n  password: |\n${key("\n").replace(/^/gm, "    ")}\n`;
    t.same(JSON.parse((await passwordOf(configOf({ yaml: block }))) ?? ""), JSON.parse(key("\n")));
    const env = { ENTREPOT_UPSTREAM_USERNAME: "_json_key", ENTREPOT_UPSTREAM_PASSWORD: key("\n") };
    t.equal(await passwordOf(configOf({ env: { ...upstreamUrl, ...env } })), key("\n"));
    const long = JSON.stringify({ key: "x".repeat(30_000) }, undefined, 2);
    t.equal(
      await passwordOf(
        configOf({ yaml: `${url}  username: u\n  passwordFile: /k\n`, files: { "/k": long } }),
      ),
      long,
    );
    for (const text of ["one\ntwo", '{\n"a"', '{"a":"x\u0000"}', "[1,\n2]", `{"a":"${"x".repeat(33_000)}"}`])
      t.match(
        problemsOf({ yaml: `${url}  username: u\n  passwordFile: /k\n`, files: { "/k": text } }),
        [
          /found other content \(not shown\) in "\/k", expected a password .* on one line, .* or a key in JSON$/,
        ],
        text.slice(0, 20),
      );
  },
);

t.test("a cloud gives the account: one way to log in, with what belongs to it", async (t) => {
  for (const cloud of ["ecr", "gcp", "azure"]) {
    const plain = authOf({ yaml: `${url}  credentialSource: ${cloud}\n` });
    t.same(plain, { kind: "cloud", cloud, identity: undefined, url: undefined, environment: {} });
  }
  const env = {
    GOOGLE_APPLICATION_CREDENTIALS: "/g.json",
    AZURE_TENANT_ID: "t",
    AZURE_CLIENT_ID: "",
    HOME: "/",
  };
  t.same(
    authOf({ yaml: `${url}  credentialSource: gcp\n`, env }),
    {
      kind: "cloud",
      cloud: "gcp",
      identity: undefined,
      url: undefined,
      environment: { GOOGLE_APPLICATION_CREDENTIALS: "/g.json", AZURE_TENANT_ID: "t" },
    },
    "what the environment says of this program",
  );
  const more = "  credentialSourceIdentity: 0aa1\n  credentialSourceUrl: http://127.0.0.1:1/\n";
  t.same(
    authOf({ yaml: `${url}  credentialSource: azure\n${more}`, env }),
    {
      kind: "cloud",
      cloud: "azure",
      identity: "0aa1",
      url: new URL("http://127.0.0.1:1/"),
      environment: {},
    },
    "a place that is named is asked, whatever the environment says",
  );
  t.match(authOf({ env: { ...upstreamUrl, ENTREPOT_UPSTREAM_CREDENTIAL_SOURCE: "ecr" } }), { cloud: "ecr" });
  t.match(problemsOf({ yaml: `${url}  credentialSource: aws\n` }), [/expected one of ecr, gcp, azure$/]);
  t.match(problemsOf({ yaml: url + more }), [
    /found this alone, expected upstream\.credentialSource as well$/,
  ]);
  t.match(problemsOf({ yaml: `${url}  username: u\n  password: p\n  credentialSource: ecr\n` }), [
    /^upstream\.credentialSource .*expected one way to log in$/,
  ]);
});
