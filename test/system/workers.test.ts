// Several processes that serve one port as one node: nothing is fetched twice, nothing old is given after news, and the
// death of any of them costs at most the connections it had.
import { readFile, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Content, digestOf } from "./fixtures/content.ts";
import { download } from "./fixtures/download.ts";
import { startRegistry } from "./fixtures/far-registry.ts";
import { startFront } from "./fixtures/front.ts";
import { type Far, type Mirror, startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

const workers = 4;

/** A mirror with so many workers, once all of them answer. */
async function startNode(
  t: Test,
  far: Far,
  env: NodeJS.ProcessEnv = {},
  options: { readonly cacheDirectory?: string } = {},
): Promise<Mirror> {
  const mirror = await startMirror(t, far, {
    ...options,
    env: { ENTREPOT_WORKERS: String(workers), ...env },
  });
  await until("all workers run", async () => (await pidsOf(mirror)).length === workers);
  return mirror;
}

/** The worker processes. */
async function pidsOf(mirror: Mirror): Promise<readonly number[]> {
  const { pid } = mirror.process;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const found: number[] = [];
  for (const child of children.split(" ").filter(Boolean)) {
    const command = await readFile(`/proc/${child}/cmdline`, "utf8").catch(() => "");
    if (command.split("\0").includes("worker")) found.push(Number(child));
  }
  return found;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

interface Got {
  readonly status: number;
  readonly digest: string;
}

/** One GET on a connection of its own, so that any worker may get it. */
function get(mirror: Mirror, path: string, method = "GET", body?: Buffer, type?: string): Promise<Got> {
  return new Promise((resolve, reject) => {
    const headers = type === undefined ? {} : { "content-type": type };
    const sent = request(`${mirror.url}${path}`, { method, headers, agent: new Agent() }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () =>
        resolve({ status: answer.statusCode ?? 0, digest: digestOf(Buffer.concat(chunks)) }),
      );
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

t.test(
  "60 clients that pull 20 cold blobs: one upstream transfer each, and every request is counted once",
  async (t) => {
    if (!requires(t, "linux")) return;
    const front = await startFront(t);
    const contents = Array.from({ length: 20 }, (_, at) => new Content(`cold ${at}`, 1 + at * 150_000));
    front.add(...contents);
    const mirror = await startNode(t, front);
    const clients = Array.from({ length: 60 }, async (_, client) => {
      for (const { digest } of contents.map((_, at) => contents[(at + client) % 20] as Content)) {
        const done = await download(mirror.blobUrl(digest)).done;
        if (!done.complete || done.digest !== digest) throw new Error(`${digest}: ${JSON.stringify(done)}`);
      }
    });
    await t.resolves(Promise.all(clients));
    t.equal(front.log.blobGets().length, 20);
    const counted = () => mirror.metric("entrepot_http_requests_total", 'route="blob"');
    await until("all are counted", async () => (await counted()) === 60 * 20);
    await get(mirror, new URL(mirror.blobUrl((contents[0] as Content).digest)).pathname);
    await until("and none twice", async () => (await counted()) === 60 * 20 + 1);
  },
);

t.test(
  "a tag that was pushed: no client gets the old one after the answer, whichever worker it asks",
  async (t) => {
    if (!requires(t, "linux", "docker-registry")) return;
    const registry = await startRegistry(t, await workDirectory(t));
    const mirror = await startNode(
      t,
      { url: registry.href, username: "", password: "" },
      {
        ENTREPOT_TAG_TTL: "1h",
        ENTREPOT_UPSTREAM_PUSH: "true",
        ENTREPOT_UPSTREAM_USERNAME: "",
        ENTREPOT_UPSTREAM_PASSWORD: "",
      },
    );
    const type = "application/vnd.oci.image.index.v1+json";
    const path = "/v2/team/app/manifests/latest";
    const old: string[] = [];
    for (let round = 0; round < 10; round++) {
      const index = {
        schemaVersion: 2,
        mediaType: type,
        manifests: [],
        annotations: { round: String(round) },
      };
      const body = Buffer.from(JSON.stringify(index));
      const pushed = await get(mirror, path, "PUT", body, type);
      if (round === 0) t.equal(pushed.status, 201);
      const answers = await Promise.all(Array.from({ length: 40 }, () => get(mirror, path)));
      for (const { digest } of answers) if (digest !== digestOf(body)) old.push(`round ${round}: ${digest}`);
      // Now most workers have been granted it.
      await Promise.all(Array.from({ length: 40 }, () => get(mirror, path)));
    }
    t.same(old, []);
    await get(mirror, path, "DELETE");
  },
);

t.test("workers that are killed are replaced; clients of the others notice nothing", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const content = new Content("killed workers", 3_000_000);
  front.add(content);
  const mirror = await startNode(t, front);
  t.match(await get(mirror, `/v2/made/blobs/blobs/${content.digest}`), { digest: content.digest });
  let over = false;
  const counts = { right: 0, broken: 0 };
  const clients = Array.from({ length: 8 }, async () => {
    while (!over) {
      const done = await download(mirror.blobUrl(content.digest)).done.catch(() => undefined);
      if (done?.complete !== true) counts.broken++;
      else if (done.digest === content.digest) counts.right++;
      else throw new Error("a complete answer with wrong bytes");
    }
  });
  const rounds = 10;
  for (let round = 0; round < rounds; round++) {
    const before = await pidsOf(mirror);
    const victim = before[round % before.length] as number;
    const right = counts.right;
    process.kill(victim, "SIGKILL");
    await until("another one has taken its place", async () => {
      const now = await pidsOf(mirror);
      return now.length === workers && !now.includes(victim);
    });
    await until("clients are served", () => counts.right >= right + 8);
  }
  over = true;
  await t.resolves(Promise.all(clients), "no complete answer had wrong bytes");
  // Each death breaks what that worker was sending: at most what eight clients had open.
  t.ok(counts.broken <= rounds * 8, `${counts.right} right, ${counts.broken} broken`);
  t.equal(front.log.blobGets().length, 1);
  t.ok(mirror.process.running);
  t.same(await mirror.stop(), { code: 0, signal: null });
});

t.test("a worker whose event loop stands still is ended and replaced", async (t) => {
  if (!requires(t, "linux")) return;
  const mirror = await startNode(t, await startFront(t));
  const [victim] = await pidsOf(mirror);
  process.kill(victim as number, "SIGSTOP");
  await until("it is replaced", async () => !isAlive(victim as number), 40_000);
  await until("all workers run", async () => (await pidsOf(mirror)).length === workers);
  t.match(await get(mirror, "/v2/"), { status: 200 });
});

t.test("a primary that is killed takes its workers with it, and the next start serves at once", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const content = new Content("killed primary", 2_000_000);
  front.add(content);
  const cacheDirectory = await workDirectory(t);
  for (let round = 0; round < 3; round++) {
    const mirror = await startNode(t, front, {}, { cacheDirectory });
    t.match(await get(mirror, `/v2/made/blobs/blobs/${content.digest}`), { digest: content.digest });
    const pids = await pidsOf(mirror);
    await mirror.kill();
    await until("no worker is left", () => pids.every((pid) => !isAlive(pid)));
  }
  t.equal(front.log.blobGets().length, 1);
});

t.test("SIGTERM: answers under way end first, in all workers; probes say so", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const content = new Content("drained", 16 * 2 ** 20);
  front.add(content);
  const mirror = await startNode(t, front);
  const hold = front.hold(content.digest, 0.5);
  const clients = Array.from({ length: 8 }, () => download(mirror.blobUrl(content.digest)));
  await Promise.all(clients.map(({ started }) => started));
  mirror.process.signal("SIGTERM");
  await until("not ready", async () => (await get(mirror, "/readyz")).status === 404);
  hold.release();
  for (const { done } of clients) t.match(await done, { complete: true, digest: content.digest });
  t.same(await mirror.process.exited, { code: 0, signal: null });
});

t.test("a port that is taken, and a directory that is in use, end the start", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const mirror = await startNode(t, front);
  await t.rejects(startMirror(t, front, { listen: mirror.host, env: { ENTREPOT_WORKERS: "2" } }), {
    message: /another program already listens there/,
  });
  await t.rejects(
    startMirror(t, front, { cacheDirectory: mirror.cacheDirectory, env: { ENTREPOT_WORKERS: "2" } }),
    { message: new RegExp(`cache directory ${join(mirror.cacheDirectory)} is in use`) },
  );
});

t.test("SIGHUP: what is denied from now on, no worker gives any more", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const content = new Content("denied later", 100_000);
  front.add(content);
  const config = join(await workDirectory(t), "mirror.yaml");
  await writeFile(config, "trustedProxies: []\n");
  const mirror = await startMirror(t, front, { config, env: { ENTREPOT_WORKERS: String(workers) } });
  await until("all workers run", async () => (await pidsOf(mirror)).length === workers);
  const path = `/v2/made/blobs/blobs/${content.digest}`;
  const answers = async () => await Promise.all(Array.from({ length: 40 }, () => get(mirror, path)));
  for (const { digest } of await answers()) t.equal(digest, content.digest);
  await writeFile(config, "upstream:\n  deny: [made/**]\n");
  mirror.process.signal("SIGHUP");
  await mirror.process.line((line) => line.includes("is used from now on") || undefined);
  // Sooner than grants end by themselves.
  const isDenied = async () => (await answers()).every(({ status }) => status === 403);
  await until("every worker knows", isDenied, 6_000);
  for (const { status } of await answers()) t.equal(status, 403);
});
