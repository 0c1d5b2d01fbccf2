// The unit as systemd reads it, and the settings it gives.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { loadConfig } from "../../src/config/load.ts";
import { defaultConfiguration, problemsOf } from "../fixtures/deployed-configuration.ts";
import { attempt } from "../system/fixtures/child.ts";
import { requires } from "../system/fixtures/requires.ts";

const root = join(import.meta.dirname, "../..");
const directory = join(root, "deploy/systemd");
const unit = readFileSync(join(directory, "entrepot.service"), "utf8");
const example = readFileSync(join(directory, "entrepot.yaml"), "utf8");

/** Values of one key, in order. */
const values = (key: string): readonly string[] =>
  unit
    .split("\n")
    .filter((line) => line.startsWith(`${key}=`))
    .map((line) => line.slice(key.length + 1));

/** systemd looks for the program: the unit with one that is here. */
function written(t: Test, text = unit): string {
  const path = join(t.testdir(), "entrepot.service");
  writeFileSync(path, text.replace("ExecStart=entrepot", `ExecStart=${process.execPath}`));
  return path;
}

t.test("a file of a secret may be a credential of systemd, named in the YAML file", async (t) => {
  const secret = "0123456789abcdef0123456789abcdef";
  const directory = t.testdir({ password: secret, redis: secret, node: secret, hooks: secret });
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: a variable of the YAML file
  const text = [
    "upstream:",
    "  url: https://registry.example.com",
    "  username: mirror",
    "  passwordFile: ${CREDENTIALS_DIRECTORY}/password",
    "redis: { url: redis://redis.example.com, passwordFile: '${CREDENTIALS_DIRECTORY}/redis' }",
    "node: { secretFile: '${CREDENTIALS_DIRECTORY}/node' }",
    "webhooks: { secretFile: '${CREDENTIALS_DIRECTORY}/hooks' }",
  ].join("\n");
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: a variable of the YAML file
  const readFile = (path: string) => readFileSync(path, "utf8");
  const file = { path: "entrepot.yaml", text };
  const loaded = loadConfig({ file, env: { CREDENTIALS_DIRECTORY: directory }, readFile });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  const { redis, node, webhooks } = loaded.config;
  for (const source of [redis?.password, node.secret, webhooks?.secrets.generic])
    t.equal((await source?.read())?.reveal(), secret);
});

/** What `entrepot check` says of the example, when root has the files of secrets in `secrets` instead. */
async function checked(t: Test, text: string, secrets: string) {
  const path = join(t.testdir(), "entrepot.yaml");
  writeFileSync(path, text.replaceAll("/etc/entrepot/secrets", secrets));
  const main = join(root, "src/main.ts");
  return await attempt(process.execPath, [main, "check", "--offline", "--config", path], { env: {} });
}

t.test("the example passes the check that its first line recommends", async (t) => {
  t.match(example.split("\n")[0], /`entrepot check --config FILE`/);
  const secrets = t.testdir({ "upstream-password": "secret", "ops-password": "secret" });
  await t.test("as it is", async (t) => {
    const { code, output } = await checked(t, example, secrets);
    t.equal(code, 0, output);
    t.match(output, /\/var\/cache\/entrepot/);
  });
  await t.test("with the lines that are commented out", async (t) => {
    const all = example.replaceAll(/^#(\w+: )/gm, "$1");
    t.match(all, /^opsListen:/m);
    const { code, output } = await checked(t, all, secrets);
    t.equal(code, 0, output);
  });
  await t.test("but not where a file of a secret is missing", async (t) => {
    t.not((await checked(t, example, t.testdirName)).code, 0);
  });
});

t.test("its head names what a checkout has, and where npm puts the program", async (t) => {
  const head = unit.slice(0, unit.indexOf("[Unit]"));
  const { bin, scripts, name } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const [, file = ""] of head.matchAll(/ (deploy\/\S+)/g)) t.ok(existsSync(join(root, file)), file);
  for (const [, script = ""] of head.matchAll(/npm run (\w+)/g)) t.ok(scripts[script], script);
  const prefix = / --prefix (\S+) \.\/(\w+)-\*\.tgz/.exec(head);
  t.equal(prefix?.[2], name);
  t.equal(
    prefix?.[1],
    "/usr/local",
    "whose bin is where systemd looks first; next is /usr/bin, of the Debian package",
  );
  t.equal(values("ExecStart")[0]?.split(" ")[0], Object.keys(bin)[0]);
  const credential = values("LoadCredential")[0]?.split(":")[1];
  t.match(head, new RegExp(`${credential}$`, "m"), "and the file that becomes the credential");
  t.equal(parse(example).upstream.passwordFile, credential);
});

t.test("systemd-analyze verify", async (t) => {
  if (!requires(t, "systemd-analyze")) return;
  const { code, output } = await attempt("systemd-analyze", ["verify", written(t)]);
  t.same({ code, output }, { code: 0, output: "" });
  const wrong = unit.replace("LockPersonality=", "LockedPersonality=");
  t.match((await attempt("systemd-analyze", ["verify", written(t, wrong)])).output, /LockedPersonality/);
});

t.test("systemd-analyze security", async (t) => {
  if (!requires(t, "systemd-analyze")) return;
  const options = ["security", "--offline=true", "--no-pager", "--threshold=15"];
  const { code, output } = await attempt("systemd-analyze", [...options, written(t)]);
  t.equal(code, 0, /Overall exposure.*/.exec(output)?.[0] ?? output);
});

t.test("the settings", async (t) => {
  const env = Object.fromEntries(
    values("Environment")
      .map((line) => line.replace("%C", "/var/cache").replace("%d", "/run/credentials/entrepot.service"))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  t.same(problemsOf({ env, file: example }), []);
  const drain = defaultConfiguration().drainTimeout / 1000;
  t.ok(
    Number.parseInt(values("TimeoutStopSec")[0] ?? "", 10) >= drain + 20,
    "stopping may take as long as draining",
  );
  t.same(values("LoadCredential"), ["upstream-password:/etc/entrepot/secrets/upstream-password"]);
  t.equal(env.ENTREPOT_UPSTREAM_PASSWORD_FILE, "/run/credentials/entrepot.service/upstream-password");
  t.same(values("LimitCORE"), ["0"], "no secret in a core");
});
