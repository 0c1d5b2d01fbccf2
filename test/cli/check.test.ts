import { readFileSync } from "node:fs";
import t from "tap";
import { commandLine } from "../fixtures/command-line.ts";
import { configOf, upstreamUrl } from "../fixtures/loading.ts";

t.test("a right configuration is printed as YAML that means the same", async (t) => {
  const line = commandLine(["check"], { env: upstreamUrl });
  t.equal(await line.exit, 0);
  t.equal(line.err(), "");
  t.same(configOf({ yaml: line.out() }), configOf({ env: upstreamUrl }));
});

t.test("the password is not printed", async (t) => {
  const env = { ...upstreamUrl, ENTREPOT_UPSTREAM_USERNAME: "mirror", ENTREPOT_UPSTREAM_PASSWORD: "hunter2" };
  const line = commandLine(["check"], { env });
  t.equal(await line.exit, 0);
  t.match(line.out(), /username: mirror/);
  t.notMatch(line.out() + line.err(), /hunter2/);
});

t.test("a wrong one is exit code 2 and every problem on the standard error", async (t) => {
  const line = commandLine(["check"], {
    env: { ...upstreamUrl, ENTREPOT_TAG_TTL: "60", ENTREPOT_CATALOG: "on" },
  });
  t.equal(await line.exit, 2);
  t.equal(line.out(), "");
  t.equal(
    line.err(),
    [
      "entrepot: 2 problems in the configuration",
      '  ENTREPOT_CATALOG: found "on", expected true or false',
      '  ENTREPOT_TAG_TTL: found "60", expected a unit after the number: 60ms, 60s, 60m, 60h or 60d',
      "",
    ].join("\n"),
  );
});

const files = {
  "a.yaml": "upstream: {url: https://a.example.com}\n",
  "b.yaml": "upstream: {url: https://b.example.com}\n",
};

t.test("--config names the file, else ENTREPOT_CONFIG does", async (t) => {
  for (const [argv, env, host] of [
    [["check", "--config", "a.yaml"], {}, "a.example.com"],
    [["check", "-c", "a.yaml"], { ENTREPOT_CONFIG: "b.yaml" }, "a.example.com"],
    [["check"], { ENTREPOT_CONFIG: "b.yaml" }, "b.example.com"],
  ] as const) {
    const line = commandLine(argv, { env, files });
    t.equal(await line.exit, 0);
    t.ok(line.out().includes(`https://${host}/`), host);
  }
});

t.test("a file that cannot be read", async (t) => {
  const option = commandLine(["check", "--config", "c.yaml"], { files });
  t.equal(await option.exit, 2);
  t.equal(option.err(), 'entrepot: --config: found "c.yaml", which cannot be read (no such file)\n');
  const variable = commandLine(["check"], { env: { ENTREPOT_CONFIG: "c.yaml" }, files });
  t.equal(await variable.exit, 2);
  t.match(variable.err(), /^entrepot: ENTREPOT_CONFIG: found "c\.yaml"/);
});

t.test("several upstreams", async (t) => {
  const text =
    "upstreams:\n  - {name: a, url: https://a.example.com, next: b}\n  - {name: b, url: https://b.example.com}\n";
  const line = commandLine(["check", "-c", "m.yaml"], { files: { "m.yaml": text } });
  t.equal(await line.exit, 0);
  t.equal(line.err(), "");
  t.same(configOf({ yaml: line.out() }), configOf({ yaml: text }));
});

t.test("a warning goes to the standard error, and the configuration is right", async (t) => {
  const text = "upstream: {url: http://a.example.com, authorization: Bearer hunter2}\n";
  const line = commandLine(["check", "-c", "m.yaml"], { files: { "m.yaml": text } });
  t.equal(await line.exit, 0);
  t.match(line.err(), /^entrepot: warning: upstream\.url \(m\.yaml:1:17\): plain http: .*\n$/);
  t.match(line.out(), /^upstream:$/m);
  t.notMatch(line.out() + line.err(), /hunter2/);
});

t.test("a cache larger than its disk is warned of, also where its directory is not there yet", async (t) => {
  const env = { ...upstreamUrl, ENTREPOT_CACHE_MAX_SIZE: "7000TB", ENTREPOT_CACHE_DIR: "/not/there/yet" };
  const line = commandLine(["check"], { env });
  t.equal(await line.exit, 0);
  t.match(
    line.err(),
    /^entrepot: warning: cache\.maxSize is \d+ bytes, and the disk of \/not\/there\/yet has only \d+: /,
  );
});

t.test("registries that do not answer as configured are warnings, after the configuration", async (t) => {
  const asked: string[] = [];
  const line = commandLine(["check"], {
    env: upstreamUrl,
    checkVersions: async (upstreams) => {
      asked.push(...upstreams.map(({ name }) => name));
      return ["upstream upstream: no"];
    },
  });
  t.equal(await line.exit, 0);
  t.equal(line.err(), "entrepot: warning: upstream upstream: no\n");
  t.same(asked, ["upstream"]);
  t.same(configOf({ yaml: line.out() }), configOf({ env: upstreamUrl }));
});

t.test("--offline asks none", async (t) => {
  const checkVersions = async () => ["asked"];
  const line = commandLine(["check", "--offline"], {
    env: upstreamUrl,
    checkVersions,
  });
  t.equal(await line.exit, 0);
  t.equal(line.err(), "");
});

t.test("what fails in asking is a warning, too", async (t) => {
  const checkVersions = () => Promise.reject(new Error("out of luck"));
  const line = commandLine(["check"], { env: upstreamUrl, checkVersions });
  t.equal(await line.exit, 0);
  t.equal(line.err(), "entrepot: warning: the registries were not asked: out of luck\n");
});

// ---- docs/upstreams.md ----------------------------------------------------------------------------------------------

const upstreams = readFileSync(new URL("../../docs/upstreams.md", import.meta.url), "utf8");
const kinds = [
  ...[
    "Docker Hub",
    "GHCR",
    "Quay",
    "Amazon ECR",
    "Google Artifact Registry",
    "Azure Container Registry",
    "GitLab",
  ],
  ...["Harbor", "Nexus", "Artifactory", "registry.k8s.io", "Distribution", "zot", "another entrepôt"],
];

for (const kind of [...kinds, "What all of them share"])
  t.test(
    `docs/upstreams.md, ${kind}: what it says to configure is right, and warns of nothing`,
    async (t) => {
      const section = upstreams.split(/^## /m).find((text) => text.startsWith(`${kind}\n`)) ?? "";
      const blocks = [...section.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, yaml = ""]) => yaml);
      t.ok(blocks.length > 0);
      for (const yaml of blocks) {
        const secrets = [...yaml.matchAll(/passwordFile: (\S+)/g)].map(([, path = ""]) => [path, "secret"]);
        const all = { "c.yaml": yaml, ...Object.fromEntries(secrets) };
        const line = commandLine(["check", "--offline", "--config", "c.yaml"], { files: all });
        t.equal(await line.exit, 0, line.err());
        t.equal(line.err(), "");
        t.same(configOf({ yaml: line.out(), files: all }), configOf({ yaml, files: all }));
      }
    },
  );

t.test("docs/upstreams.md has a row for each kind, which says how it was tested", async (t) => {
  const rows = [...upstreams.matchAll(/^\| \[(.+?)\]\(#(.+?)\) \| (.+?) \|/gm)];
  t.equal(rows.length, kinds.length);
  for (const [, , anchor = "", tested = ""] of rows) {
    t.ok(
      kinds.some((kind) => kind.toLowerCase().replaceAll(" ", "-").replaceAll(".", "") === anchor),
      anchor,
    );
    t.match(tested, /^(?:real|scripted|documents)\b/);
  }
});
