import { existsSync, readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { keyMeanings, meaningsHelp, settingsMarkdown, variableMeanings } from "../../src/config/help.ts";
import { settings } from "../../src/config/settings.ts";
import { makeTokenKey } from "../../src/gate/token/token-key.ts";
import { userLine } from "../fixtures/access.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { problemsOf } from "../fixtures/loading.ts";

const root = new URL("../../", import.meta.url);
const configuration = readFileSync(new URL("docs/configuration.md", root), "utf8");
/** Every document that shows configurations. */
const documents = ["README.md", ...readdirSync(new URL("docs", root)).map((name) => `docs/${name}`)].filter(
  (name) => name.endsWith(".md"),
);

t.test("the table of docs/configuration.md is the table of the code", async (t) => {
  const [, between] = /<!-- configuration -->\n([\s\S]*?)<!-- \/configuration -->/.exec(configuration) ?? [];
  t.equal(
    between?.trim(),
    settingsMarkdown().trim(),
    "paste what settingsMarkdown() gives between the markers",
  );
});

t.test("the configurations in the documents are right", { skip: withoutOpenssl() }, async (t) => {
  const listener = new Authority(t.testdir(), "listener");
  const blocks = documents.flatMap((name) =>
    [...readFileSync(new URL(name, root), "utf8").matchAll(/```yaml\n([\s\S]*?)```/g)].map(
      ([, yaml = ""]) => yaml,
    ),
  );
  t.ok(blocks.length >= 6);
  for (const yaml of blocks) {
    const contentOf = (path: string): string => {
      if (yaml.includes(`htpasswdFile: ${path}`)) return userLine("alice", "1");
      if (yaml.includes(`jwksFile: ${path}`)) return `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`;
      if (/token:\n +keyFile/.test(yaml) && yaml.includes(`keyFile: ${path}`)) return makeTokenKey().reveal();
      if (path.endsWith(".crt")) return listener.cert;
      if (path.endsWith("tls.key")) return listener.key;
      return "0123456789abcdef0123456789abcdef";
    };
    const secrets = [...yaml.matchAll(/(?:File|Authorization|\bca): (\S+?)(?= }| #|$)/gm)].map(
      ([, path = ""]) => [path, contentOf(path)],
    );
    const env = { REGISTRY_PASSWORD: "p" };
    t.same(problemsOf({ yaml, env, files: Object.fromEntries(secrets) }), [], yaml);
  }
});

t.test("every link of the documents leads to a file", async (t) => {
  for (const name of ["SECURITY.md", "CONTRIBUTING.md", ...documents]) {
    const text = readFileSync(new URL(name, root), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g))
      t.ok(existsSync(new URL(target, new URL(name, root))), `${name}: ${target}`);
  }
});

t.test("every setting is in one of the tables, and in the help", async (t) => {
  const rows = settingsMarkdown()
    .split("\n")
    .filter((line) => line.startsWith("|"));
  t.equal(rows.length, settings.length + 5, "two headings of two lines, and ENTREPOT_CONFIG");
  for (const { key, env: short, default: value } of settings) {
    const env = short && `ENTREPOT_${short}`;
    const row = rows.find((line) => line.startsWith(`| \`${key}\` |`)) ?? "";
    t.ok(row.includes(env ?? ""), key);
    t.ok(row.includes(value ?? ""), key);
    t.equal(row.split(/(?<!\\)\|/).length, env === undefined ? 5 : 6, "columns");
    t.equal(meaningsHelp(variableMeanings).includes(`  ${env}\n`), env !== undefined, key);
    t.equal(meaningsHelp(keyMeanings).includes(`  ${key}\n`), env === undefined, key);
  }
  t.ok(meaningsHelp(variableMeanings).includes("ENTREPOT_CONFIG"));
});

t.test("help keeps to its width", async (t) => {
  for (const line of `${meaningsHelp(variableMeanings, 80)}\n${meaningsHelp(keyMeanings, 80)}`.split("\n"))
    t.ok(line.length <= 80, line);
});

t.test("variables have one name each, made in one way", async (t) => {
  const names = settings.flatMap(({ env }) => env ?? []);
  t.equal(new Set(names).size, names.length);
  for (const name of names) t.match(name, /^[A-Z0-9]+(?:_[A-Z]+)*$/);
});
