// docker-compose.yml brought up as its head says, by Compose itself and a real docker: the image built from this checkout,
// HAProxy and Redis those of this machine in images of the published names. S3 is a port that knows no S3, and
// whose health nobody looks at: SeaweedFS cannot be had here, and the mirrors serve without.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { chown, cp, mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, connect as connectTo, createServer } from "node:net";
import { dirname, join } from "node:path";
import t from "tap";
import { Agent, request } from "undici";
import { parse } from "yaml";
import { userLine } from "../fixtures/access.ts";
import { baseImagePrograms, certificates, importBaseImage } from "./fixtures/base-image.ts";
import { attempt, run as runProgram } from "./fixtures/child.ts";
import { findCompose } from "./fixtures/compose.ts";
import { type Dockerd, dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { farRegistryPrograms, startRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { makeLayout } from "./fixtures/images.ts";
import { importProgramImage } from "./fixtures/program-image.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { type Cleanup, workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(540_000);

const root = join(import.meta.dirname, "../..");
const { services } = parse(readFileSync(join(root, "docker-compose.yml"), "utf8"), { merge: true }) as {
  services: Record<string, { image: string }>;
};
const imageOf = (service: string): string => services[service]?.image ?? "";

/** An owner and a directory, as the published images have them for their volumes. */
const owned = (path: string, uid: number) => async (rootDirectory: string) => {
  await mkdir(join(rootDirectory, path));
  await chown(join(rootDirectory, path), uid, uid);
};

async function importImages(t: Cleanup, daemon: Dockerd): Promise<void> {
  const dockerfile = readFileSync(join(root, "deploy/Dockerfile"), "utf8");
  await importBaseImage(t, daemon, /^ARG NODE_IMAGE=(\S+)$/m.exec(dockerfile)?.[1] ?? "");
  await importProgramImage(t, daemon, imageOf("haproxy"), {
    programs: ["haproxy", "openssl", "bash"],
    changes: [
      "USER haproxy",

      'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]',
    ],
    async furnish(rootDirectory) {
      const settings = join(rootDirectory, "usr/lib/ssl/openssl.cnf");
      await mkdir(dirname(settings), { recursive: true });
      await cp("/etc/ssl/openssl.cnf", settings);
    },
  });
  await importProgramImage(t, daemon, imageOf("redis"), {
    programs: ["redis-server", "redis-cli"],
    furnish: owned("data", 999),
  });
  await importProgramImage(t, daemon, imageOf("s3"), {
    programs: [],
    async furnish(rootDirectory) {
      await owned("data", 1000)(rootDirectory);
      const weed = join(rootDirectory, "bin/weed");
      await writeFile(weed, "#!/bin/sh\nexec httpd -f -p 8333 -h /tmp\n", { mode: 0o755 });
    },
  });
}

/** The registry has an address that containers reach, too: the machine's, as they see it. */
async function forwarder(t: Cleanup, to: URL): Promise<number> {
  const server = createServer((socket) => {
    const other = connectTo(Number(to.port), to.hostname);
    socket.pipe(other).pipe(socket);
    for (const each of [socket, other]) each.on("error", () => void [socket.destroy(), other.destroy()]);
  }).listen(0, "0.0.0.0");
  t.teardown(() => server.close());
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

t.test("docker compose up, with nothing but the URL of a registry that wants no login", async (t) => {
  const needed = [...dockerPrograms, ...baseImagePrograms, ...farRegistryPrograms, "haproxy", "redis-server"];
  if (!requires(t, ...needed, "redis-cli", "openssl", "bash")) return;
  const compose = await findCompose(t);
  if (compose === undefined) return;
  const npm = { env: { NODE_EXTRA_CA_CERTS: certificates }, timeout: 20_000 };
  if ((await attempt("env", ["-u", "NODE_OPTIONS", "npm", "ping"], npm)).code !== 0)
    return t.plan(0, "npm has no registry to install from");

  const directory = await workDirectory(t);
  const origin = await startRegistry(t, directory);
  const images = await makeLayout(join(directory, "layout"));
  const push = async (to: URL, repository: string, ...account: readonly string[]): Promise<void> => {
    const from = `oci:${images.directory}:app`;
    const options = ["--quiet", "--all", "--dest-tls-verify=false", ...account];
    await runProgram("skopeo", ["copy", ...options, from, `docker://${to.host}/${repository}:1`]);
  };
  await push(origin, "made/app");

  const daemon = await startDockerd(t, "http://127.0.0.1:9");
  await importImages(t, daemon);
  const [https, ops, statistics] = [await freePort(), await freePort(), await freePort()];
  const env: NodeJS.ProcessEnv = {
    ...daemon.env,
    // There is no BuildKit here, and no network but the machine's.
    DOCKER_BUILDKIT: "0",
    ENTREPOT_UPSTREAM_URL: `http://172.30.77.129:${await forwarder(t, origin)}`,
    ENTREPOT_HTTPS_PORT: String(https),
    ENTREPOT_OPS_PORT: String(ops),
    ENTREPOT_STATISTICS_PORT: String(statistics),
  };
  const here = join(directory, "here.yml");
  // Nobody may have more open files than the machine's daemon has.
  const ulimits = { nofile: Math.min(65536, Number(await runProgram("sh", ["-c", "ulimit -Hn"])) || 65536) };
  const mirror = { ulimits };
  await writeFile(
    here,
    JSON.stringify({
      services: { "mirror-1": { ...mirror, build: { network: "host" } }, "mirror-2": mirror },
    }),
  );
  const files = ["--file", "docker-compose.yml", "--file", here, "--project-name", "entrepot-test"];
  const run = async (...args: readonly string[]): Promise<string> => {
    const ran = await compose([...files, ...args], { env, cwd: root, timeout: 400_000 });
    if (ran.code !== 0) throw new Error(`compose ${args.join(" ")}: ${ran.output}`);
    return ran.standardOutput;
  };
  t.teardown(() =>
    compose([...files, "down", "--volumes", "--timeout", "5"], { env, cwd: root, timeout: 60_000 }),
  );
  await run("up", "--detach");

  await t.test("every service is up and healthy", async (t) => {
    await until(
      "all are healthy",
      async () => {
        const rows = (await run("ps", "--format", "{{.Service}} {{.Health}}"))
          .trim()
          .split("\n")
          .filter((row) => !row.startsWith("s3 "))
          .sort();
        const wanted = ["haproxy", "mirror-1", "mirror-2", "redis"].map((name) => `${name} healthy`);
        return JSON.stringify(rows) === JSON.stringify(wanted);
      },
      90_000,
    );
    t.pass();
  });

  const read = (service: string, file: string) => run("exec", "-T", service, "cat", `/run/secrets/${file}`);
  const ca = await read("haproxy", "self-made.pem");

  await t.test("clients pull over TLS, by the self-made certificate", async (t) => {
    const dispatcher = new Agent({ connect: { ca, rejectUnauthorized: true } });
    t.teardown(() => dispatcher.close());
    const answer = await request(`https://localhost:${https}/v2/made/app/manifests/1`, {
      dispatcher,
      headers: { accept: "*/*" },
    });
    t.equal(answer.statusCode, 200, await answer.body.text());
    await daemon.pull(`localhost:${https}/made/app:1`, 60_000);
    await t.rejects(request(`https://localhost:${https}/v2/`), /self-signed/, "others do not know it");
  });

  await t.test("the status page is there, for who has the password", async (t) => {
    const password = await read("mirror-1", "ops-password");
    const page = (authorization?: string) =>
      fetch(`http://127.0.0.1:${ops}/`, authorization === undefined ? {} : { headers: { authorization } });
    t.equal((await page()).status, 401);
    const answer = await page(`Basic ${Buffer.from(`anyone:${password}`).toString("base64")}`);
    t.equal(answer.status, 200);
    t.match(await answer.text(), /<title>/);
  });

  await t.test("both nodes and Redis are in use; HAProxy's statistics say so", async (t) => {
    const csv = await (await fetch(`http://127.0.0.1:${statistics}/stats;csv`)).text();
    for (const node of ["node1", "node2"]) t.match(csv, new RegExp(`^nodes,${node},.*,UP,`, "m"));
    const password = await read("redis", "redis-password");
    const keys = await run(
      "exec",
      "-T",
      "--env",
      `REDISCLI_AUTH=${password}`,
      "redis",
      "redis-cli",
      "dbsize",
    );
    t.ok(Number(keys) > 0, `${keys.trim()} keys`);
  });

  await t.test("a second start makes nothing new", async (t) => {
    await run("down", "--timeout", "5");
    await run("up", "--detach");
    t.equal(await read("haproxy", "self-made.pem"), ca);
  });

  await t.test("a registry that wants a login, by a password that only its owner may read", async (t) => {
    const closed = join(directory, "closed");
    await mkdir(closed);
    const users = join(closed, "users");
    await writeFile(users, userLine("mirror", "secret"));
    const registry = await startRegistry(t, closed, { auth: { htpasswd: { realm: "closed", path: users } } });
    await push(registry, "made/closed", "--dest-creds", "mirror:secret");
    env.ENTREPOT_UPSTREAM_URL = `http://172.30.77.129:${await forwarder(t, registry)}`;
    env.ENTREPOT_UPSTREAM_USERNAME = "mirror";
    await t.rejects(run("up", "--detach"), /secrets/, "without the password nothing starts");
    t.match(await run("logs", "secrets"), /ENTREPOT_UPSTREAM_PASSWORD_FILE/, "and it is said");

    const password = join(directory, "password");
    await writeFile(password, "secret", { mode: 0o600 });
    await chown(password, 1000, 1000);
    env.ENTREPOT_UPSTREAM_PASSWORD_FILE = password;
    await run("up", "--detach");
    const dispatcher = new Agent({ connect: { ca } });
    t.teardown(() => dispatcher.close());
    const options = { dispatcher, headers: { accept: "*/*" } };
    let last: string | undefined;
    const isThere = async (): Promise<boolean> => {
      const url = `https://localhost:${https}/v2/made/closed/manifests/1`;
      const answer = await request(url, options).catch((error) => ({
        statusCode: 0,
        body: { text: () => String(error) },
      }));
      last = `${answer.statusCode} ${await answer.body.text()}`;
      return answer.statusCode === 200;
    };
    await until("the image is there", isThere, 60_000).catch(async (error) => {
      t.fail(`${error} ${last}`);
      t.comment(await run("logs", "--tail", "15", "mirror-1", "mirror-2", "haproxy"));
    });
    t.equal(await read("mirror-1", "upstream-password"), "secret");
  });
});
