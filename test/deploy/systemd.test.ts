// The unit as systemd reads it, and the settings it gives.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { loadConfig } from "../../src/config/load.ts";
import { defaultConfiguration, problemsOf } from "../fixtures/deployed-configuration.ts";
import { attempt } from "../system/fixtures/child.ts";
import { requires } from "../system/fixtures/requires.ts";

const directory = join(import.meta.dirname, "../../deploy/systemd");
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
  writeFileSync(path, text.replace("/usr/local/bin/entrepot", process.execPath));
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
