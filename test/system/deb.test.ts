// The Debian package, from its making to its purge, in a root in which there is nothing but what it depends on, and no network.
import { existsSync, readFileSync, statSync } from "node:fs";
import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import t, { type Test } from "tap";
import { buildPackage } from "../../deploy/debian/build-package.ts";
import { attempt, Child, run } from "./fixtures/child.ts";
import { cleanRootPrograms, inRoot, makeCleanRoot } from "./fixtures/clean-root.ts";
import { makeLayout } from "./fixtures/images.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(600_000);

const project = join(import.meta.dirname, "../..");
const buildPrograms = ["linux", "dpkg-deb", "strip", "npm"] as const;
const most = 60_000_000;
const { version } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as { version: string };

/** The command line of the unit in the package, with its environment, for a place that has no systemd. */
async function commandOf(root: string): Promise<readonly string[]> {
  const directory = join(root, "usr/lib/systemd/system");
  const unit = await readFile(join(directory, "entrepot.service"), "utf8");
  const drop = await readFile(join(directory, "entrepot.service.d/package.conf"), "utf8");
  const values = (key: string) =>
    `${unit}\n${drop}`
      .split("\n")
      .filter((line) => line.startsWith(`${key}=`))
      .map((line) => line.slice(key.length + 1));
  const user = values("User").at(-1) ?? "";
  const environment = values("Environment").map((each) => each.replace("%C", "/var/cache"));
  const [start = ""] = values("ExecStart");
  return [
    ...["setpriv", `--reuid=${user}`, `--regid=${values("Group").at(-1)}`, "--init-groups", "--no-new-privs"],
    ...["env", "-i", ...environment, "ENTREPOT_DRAIN_DELAY=0s", ...start.split(" ")],
  ];
}

/** From now on systemd seems to run in there: what it is asked for is written down. */
async function pretendSystemd(root: string): Promise<void> {
  await mkdir(join(root, "run/systemd/system"), { recursive: true });
  for (const name of ["systemctl", "deb-systemd-invoke"])
    await writeFile(join(root, "usr/bin", name), `#!/bin/sh\necho ${name} "$@" >>/tmp/asked\n`);
}

async function asked(root: string): Promise<string> {
  return await readFile(join(root, "tmp/asked"), "utf8");
}

/** A network of its own, with nothing but a loopback interface; the command that runs what follows it in there. */
async function loneNetwork(t: Test): Promise<readonly string[]> {
  const name = `entrepot-deb-${process.pid}`;
  await run("ip", ["netns", "add", name]);
  t.teardown(() => attempt("ip", ["netns", "del", name]));
  await run("ip", ["-n", name, "link", "set", "lo", "up"]);
  return ["nsenter", `--net=/run/netns/${name}`];
}

/** docker-registry in that network, with the image made/app:1. Gives the lines of its access log. */
async function farRegistry(t: Test, within: readonly string[]): Promise<Child> {
  const directory = await workDirectory(t);
  const settings = join(directory, "registry.yml");
  await writeFile(
    settings,
    JSON.stringify({
      version: "0.1",
      log: { level: "warn" },
      storage: { filesystem: { rootdirectory: join(directory, "registry") } },
      http: { addr: "127.0.0.1:5500", secret: "none" },
    }),
  );
  const [first = "", ...rest] = [...within, "docker-registry", "serve", settings];
  const registry = new Child(t, first, rest);
  const { directory: layout } = await makeLayout(join(directory, "layout"));
  const copy = [...within, "skopeo", "copy", "--quiet", "--dest-tls-verify=false"];
  await until("the image is in docker-registry", async () => {
    const target = "docker://127.0.0.1:5500/made/app:1";
    const [program = "", ...args] = [...copy, `oci:${layout}:app`, target];
    return (await attempt(program, args)).code === 0;
  });
  return registry;
}

t.test("the Debian package", async (t) => {
  if (
    !requires(
      t,
      ...buildPrograms,
      ...cleanRootPrograms,
      "skopeo",
      "docker-registry",
      "busybox",
      "ip",
      "nsenter",
      "setpriv",
    )
  )
    return;
  const directory = await workDirectory(t);
  const build = ["npm", "run", "--silent", "deb", "--", "--out", directory];
  await run("env", ["-u", "NODE_OPTIONS", ...build], { cwd: project, timeout: 400_000 });
  const [first = ""] = (await run("sh", ["-c", 'ls "$0"/*.deb', directory])).trim().split("\n");

  await t.test("is small enough, and named for its version", async (t) => {
    t.match(
      basename(first),
      new RegExp(`^entrepot_${version.replaceAll(".", "\\.")}_(?:amd64|arm64)\\.deb$`),
    );
    const { size } = statSync(first);
    t.comment(`${(size / 1e6).toFixed(1)} MB`);
    t.ok(size < most, `${size}`);
  });

  await t.test("lintian finds nothing that is not overridden with a reason", async (t) => {
    if (!requires(t, "lintian")) return;
    const flags = ["--profile=debian", "--display-info", "--fail-on=error,warning,info", "--allow-root"];
    const { code, output } = await attempt("lintian", [...flags, first], { timeout: 300_000 });
    t.equal(code, 0, output);
  });

  // The same tree with another version, and with a change of the configuration, as an upgrade may bring.
  const tree = join(directory, "tree");
  await run("dpkg-deb", ["--raw-extract", first, tree], { timeout: 120_000 });
  const control = join(tree, "DEBIAN/control");
  await writeFile(control, (await readFile(control, "utf8")).replace(/^Version: .*$/m, "Version: 99.0"));
  await appendFile(join(tree, "etc/entrepot/entrepot.yaml"), "# new in 99.0\n");
  const second = join(directory, "second.deb");
  await run("dpkg-deb", ["--root-owner-group", "-Znone", "--build", tree, second], { timeout: 120_000 });

  const root = await makeCleanRoot(t, "dpkg", "systemd", "libstdc++6", "libgcc-s1");
  const network = await loneNetwork(t);
  // The test runner's loader, which it gives every child by NODE_OPTIONS, is not there.
  const within = ["env", "-u", "NODE_OPTIONS", ...network, ...inRoot(root)];
  const there = async (...args: readonly string[]) => {
    const [program = "", ...rest] = [...within, ...args];
    return await attempt(program, rest, {
      timeout: 180_000,
      env: { LC_ALL: "C", PATH: "/usr/sbin:/usr/bin:/sbin:/bin", DEBIAN_FRONTEND: "noninteractive" },
    });
  };
  const installed = async (file: string) => {
    await run("cp", [file, join(root, "tmp/entrepot.deb")]);
    const { code, output } = await there("dpkg", "--force-confold", "--install", "/tmp/entrepot.deb");
    t.equal(code, 0, output);
  };
  const configuration = join(root, "etc/entrepot/entrepot.yaml");
  const secrets = join(root, "etc/entrepot/secrets");

  await t.test("installs without a network and without a systemd that runs", async (t) => {
    await installed(first);
    t.match((await there("entrepot", "--version")).output.trim(), version);
    t.match((await there("id", "entrepot")).output, /\(entrepot\)/);
    const { mode } = statSync(secrets);
    t.equal(mode & 0o7777, 0o2750, "for root and the service only");
    t.match((await there("stat", "-c", "%U %G", "/etc/entrepot/secrets")).output, "root entrepot");
    t.ok(existsSync(join(root, "etc/systemd/system/multi-user.target.wants")), "enabled");
    const unset = await there("entrepot", "check", "--offline", "--config", "/etc/entrepot/entrepot.yaml");
    t.equal(unset.code, 2);
    t.match(unset.output, /upstream\.url/, "says what to set");
  });

  await t.test("a first pull through it", async (t) => {
    const registry = await farRegistry(t, network);
    await appendFile(configuration, "upstream: { url: http://127.0.0.1:5500 }\n");
    const [program = "", ...args] = [...within, ...(await commandOf(root))];
    const mirror = new Child(t, program, args);
    const addresses = await mirror.line((line) => (line.includes('"listening"') ? line : undefined), 60_000);
    t.match(JSON.parse(addresses), { msg: "listening", ops: "127.0.0.1:5001" });
    for (const copy of ["cold", "warm"]) {
      const options = ["copy", "--quiet", "--src-tls-verify=false", "docker://127.0.0.1:5000/made/app:1"];
      const [tool = "", ...rest] = [...network, "skopeo", ...options, `oci:${join(directory, copy)}:1`];
      await run(tool, rest);
    }
    t.match((await there("stat", "-c", "%U", "/var/cache/entrepot/index.db")).output, "entrepot");
    const why = await there("entrepot", "why", "made/app:1");
    t.equal(why.code, 0, `the image is here as a whole\n${why.output}`);
    const fetched = registry
      .output()
      .split("\n")
      .filter((line) => /"GET \/v2\/made\/app\/blobs\//.test(line));
    t.equal(
      new Set(fetched.map((line) => /blobs\/(\S+)/.exec(line)?.[1])).size,
      fetched.length,
      "each blob once",
    );
    t.ok(fetched.length > 1);
    t.equal((await mirror.stop()).code, 0);
  });

  await t.test("an upgrade keeps the configuration, the secrets and the cache", async (t) => {
    await writeFile(join(secrets, "upstream-password"), "secret");
    const before = await readFile(configuration, "utf8");
    await pretendSystemd(root);
    await installed(second);
    t.match(await asked(root), "deb-systemd-invoke restart entrepot.service\n");
    t.match((await there("dpkg-query", "--show", "entrepot")).output, "99.0");
    t.equal(await readFile(configuration, "utf8"), before);
    t.ok(existsSync(join(root, "var/cache/entrepot/index.db")));
    t.equal(await readFile(join(secrets, "upstream-password"), "utf8"), "secret");
    t.match((await there("stat", "-c", "%G", "/etc/entrepot/secrets/upstream-password")).output, "entrepot");
  });

  await t.test("a configuration that is not right starts nothing, and is told", async (t) => {
    const before = await readFile(configuration, "utf8");
    await writeFile(configuration, "cache: { maxSize: much }\n");
    await writeFile(join(root, "tmp/asked"), "");
    const { code, output } = await there("/var/lib/dpkg/info/entrepot.postinst", "configure", "99.0");
    t.equal(code, 0, output);
    t.match(output, /cache\.maxSize/);
    t.match(output, "entrepot: not started: name a registry in /etc/entrepot/entrepot.yaml");
    t.notMatch(await asked(root), "deb-systemd-invoke");
    await writeFile(configuration, before);
  });

  await t.test("removed, what people have made stays; purged, it goes", async (t) => {
    const removed = await there("dpkg", "--remove", "entrepot");
    t.equal(removed.code, 0, removed.output);
    t.match(await asked(root), "deb-systemd-invoke stop entrepot.service\n");
    t.notOk(existsSync(join(root, "usr/lib/entrepot")));
    t.notOk(existsSync(join(root, "usr/bin/entrepot")));
    t.ok(existsSync(configuration));
    t.ok(existsSync(join(secrets, "upstream-password")));
    t.ok(existsSync(join(root, "var/cache/entrepot/index.db")));
    await mkdir(join(root, "srv/other"), { recursive: true });
    const purged = await there("dpkg", "--purge", "entrepot");
    t.equal(purged.code, 0, purged.output);
    for (const path of [
      "etc/entrepot",
      "var/cache/entrepot",
      "etc/systemd/system/multi-user.target.wants/entrepot.service",
    ])
      t.notOk(existsSync(join(root, path)), path);
    t.match((await there("dpkg-query", "--show", "entrepot")).output, /no packages found/);
  });

  await t.test("the same checkout gives the same bytes", async (t) => {
    const build = (name: string) => buildPackage({ directory: join(directory, name), compression: "none" });
    t.equal((await attempt("cmp", [build("one"), build("other")])).code, 0);
  });
});
