// `entrepot doctor` in front of real servers, and beside a mirror that runs.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { type DoctorReport, doctorReportSchema } from "../../src/doctor/report.ts";
import { makeImage } from "../fixtures/images.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import { cephPrograms, startCeph } from "./fixtures/ceph.ts";
import { attempt } from "./fixtures/child.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { redisPrograms, type ServerOptions, startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { makeBucket } from "./fixtures/s3-server.ts";

t.setTimeout(240_000);

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const secret = "hunter2hunter2";

async function registry(t: Test): Promise<ScriptedUpstream> {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", makeImage({ layers: [4096] }));
  return upstream;
}

interface Diagnosis {
  readonly code: number | null;
  readonly report: DoctorReport;
  /** `part: name` of what failed. */
  readonly failed: readonly string[];
}

async function diagnose(
  t: Test,
  { url, username, password }: ScriptedUpstream,
  env: NodeJS.ProcessEnv = {},
): Promise<Diagnosis> {
  const { code, output, standardOutput } = await attempt(
    process.execPath,
    [main, "doctor", "--json", "--image", "team/app:1.0"],
    {
      env: {
        NODE_OPTIONS: "",
        ENTREPOT_UPSTREAM_URL: url.href,
        ENTREPOT_UPSTREAM_USERNAME: username,
        ENTREPOT_UPSTREAM_PASSWORD: password,
        ENTREPOT_CACHE_DIR: join(t.testdir(), "data"),
        ENTREPOT_LISTEN: "127.0.0.1:0",
        ENTREPOT_OPS_LISTEN: "127.0.0.1:0",
        ...env,
      },
    },
  );
  t.notOk(output.includes(secret), "no secret is printed");
  const report = doctorReportSchema.parse(JSON.parse(standardOutput));
  const failed = report.checks.filter(({ outcome }) => outcome === "failed");
  return { code, report, failed: failed.map(({ part, name }) => `${part}: ${name}`) };
}

const checkOf = ({ report }: Diagnosis, part: string, name: string) =>
  report.checks.find((check) => check.part === part && check.name === name);

t.test("beside a mirror that runs, and pulls through it", async (t) => {
  const upstream = await registry(t);
  const { url, username, password } = upstream;
  const mirror = await startMirror(t, { url: url.href, username, password });
  const env = {
    ENTREPOT_CACHE_DIR: mirror.cacheDirectory,
    ENTREPOT_LISTEN: mirror.host,
    ENTREPOT_OPS_LISTEN: mirror.ops,
  };
  const found = await diagnose(t, upstream, env);
  t.equal(found.code, 0);
  t.same(found.failed, []);
  const pid = String(mirror.process.pid);
  t.match(checkOf(found, "cache", "holder"), { outcome: "ok", seen: new RegExp(`process ${pid} `) });
  t.match(checkOf(found, "machine", "files"), { seen: new RegExp(`of process ${pid}`) });
  t.equal((await fetch(`${mirror.url}/v2/team/app/manifests/1.0`)).status, 200, "it goes on");
  t.equal(await mirror.metric("entrepot_store_errors_total"), 0);
  const client = await attempt(
    process.execPath,
    [main, "doctor", "--client", mirror.url, "--image", "registry.invalid/team/app:1.0"],
    { env: { NODE_OPTIONS: "" } },
  );
  t.equal(client.code, 0, client.output);
  t.match(client.output, /^ {2}ok {7}range /m);
});

t.test("Redis", async (t) => {
  if (!requires(t, ...redisPrograms)) return;
  const upstream = await registry(t);
  const ask = async (t: Test, options: ServerOptions, env: NodeJS.ProcessEnv = {}) => {
    const server = await startRedis(t, options);
    const url = `redis://127.0.0.1:${server.port}`;
    return { server, found: await diagnose(t, upstream, { ENTREPOT_REDIS_URL: url, ...env }) };
  };
  const locked = { args: ["--requirepass", secret], client: { password: secret } };

  await t.test("healthy", async (t) => {
    const { server, found } = await ask(t, locked, { ENTREPOT_REDIS_PASSWORD: secret });
    t.same(found.failed, []);
    for (const name of ["connect", "auth", "write", "memory", "clock", "nodes"])
      t.equal(checkOf(found, "redis", name)?.outcome, "ok", name);
    t.equal(await server.call("DBSIZE"), 0, "nothing is left in it");
  });

  await t.test("a wrong password, and none", async (t) => {
    for (const env of [{ ENTREPOT_REDIS_PASSWORD: "wrong" }, {}]) {
      const { found } = await ask(t, locked, env);
      t.equal(found.code, 1);
      t.same(found.failed, ["redis: auth"]);
      t.match(checkOf(found, "redis", "auth"), { seen: /WRONGPASS|NOAUTH/, fix: /redis\.password/ });
    }
  });

  await t.test("one that takes anybody is warned of when a password is configured", async (t) => {
    const { found } = await ask(t, {}, { ENTREPOT_REDIS_PASSWORD: secret });
    t.same(found.failed, []);
    t.match(checkOf(found, "redis", "auth"), { outcome: "warning", seen: /anybody/, fix: /requirepass/ });
  });

  await t.test("a replica, which takes no writes", async (t) => {
    const primary = await startRedis(t);
    const { found } = await ask(t, { args: ["--replicaof", `127.0.0.1 ${primary.port}`] });
    t.same(found.failed, ["redis: write"]);
    t.match(checkOf(found, "redis", "write"), { seen: /^READONLY/, fix: /primary/ });
  });

  await t.test("one that is full", async (t) => {
    const args = (most: string, policy: string) => ["--maxmemory", most, "--maxmemory-policy", policy];
    const full = (await ask(t, { args: args("100kb", "noeviction") })).found;
    t.same(full.failed, ["redis: write"]);
    t.match(checkOf(full, "redis", "write"), { seen: /^OOM/, fix: /maxmemory/ });
    const evicting = (await ask(t, { args: args("1mb", "allkeys-lru") })).found;
    t.match(checkOf(evicting, "redis", "memory"), { outcome: "warning", fix: /evicted/ });
  });

  await t.test("a user without rights", async (t) => {
    const user = ["--user", "mirror", "on", `>${secret}`, "~other:*", "+@all"];
    const { found } = await ask(
      t,
      { args: user },
      {
        ENTREPOT_REDIS_USERNAME: "mirror",
        ENTREPOT_REDIS_PASSWORD: secret,
      },
    );
    t.same(found.failed, ["redis: nodes", "redis: write"]);
    t.match(checkOf(found, "redis", "write"), { seen: /^NOPERM/, fix: /rights/ });
  });

  await t.test("one that is frozen", async (t) => {
    const server = await startRedis(t);
    server.signal("SIGSTOP");
    const found = await diagnose(t, upstream, { ENTREPOT_REDIS_URL: `redis://127.0.0.1:${server.port}` });
    server.signal("SIGCONT");
    t.same(found.failed, ["redis: connect"]);
  });
});

t.test("Ceph", async (t) => {
  if (!requires(t, ...cephPrograms)) return;
  const ceph = await startCeph(t);
  await makeBucket(ceph, "blobs");
  const upstream = await registry(t);
  const ask = (over: NodeJS.ProcessEnv) =>
    diagnose(t, upstream, {
      ENTREPOT_S3_ENDPOINT: ceph.endpoint.href,
      ENTREPOT_S3_BUCKET: "blobs",
      ENTREPOT_S3_REGION: "us-east-1",
      ENTREPOT_S3_ACCESS_KEY_ID: ceph.accessKeyId,
      ENTREPOT_S3_SECRET_ACCESS_KEY: ceph.secretAccessKey,
      ...over,
    });
  t.same((await ask({})).failed, []);
  for (const [over, seen, fix] of [
    [{ ENTREPOT_S3_ACCESS_KEY_ID: "nobody" }, /InvalidAccessKeyId/, /s3\.accessKeyId/],
    [{ ENTREPOT_S3_SECRET_ACCESS_KEY: secret }, /SignatureDoesNotMatch/, /s3\.secretAccessKey/],
    [{ ENTREPOT_S3_BUCKET: "other" }, /NoSuchBucket/, /Make the bucket/],
  ] as const) {
    const found = await ask(over);
    t.same(found.failed, ["s3: bucket"]);
    t.match(checkOf(found, "s3", "bucket"), { seen, fix });
  }
});
