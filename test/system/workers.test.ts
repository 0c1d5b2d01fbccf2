// Several processes that serve one port as one node: nothing is fetched twice, nothing old is given after news, and one that
// hangs is replaced. What killing them costs is in test/system/workers-killed.test.ts.
import { writeFile } from "node:fs/promises";
import { Agent, type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import t from "tap";
import { Content, digestOf } from "./fixtures/content.ts";
import { download } from "./fixtures/download.ts";
import { startRegistry } from "./fixtures/far-registry.ts";
import { startFront } from "./fixtures/front.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { allRun, isAlive, lineOf, startWorkers, workersOf } from "./fixtures/worker-node.ts";

t.setTimeout(600_000);

const workers = 4;
const inFlight = "entrepot_http_in_flight_requests";

interface Got {
  readonly status: number;
  readonly digest: string;
}

/** One GET on a connection of its own, so that any worker may get it. */
function get(
  mirror: Mirror,
  path: string,
  method = "GET",
  body?: Buffer,
  type?: string,
  localAddress?: string,
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const headers = type === undefined ? {} : { "content-type": type };
    const agent = new Agent({ localAddress });
    const sent = request(`${mirror.url}${path}`, { method, headers, agent }, (answer) => {
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
    const mirror = await startWorkers(t, front, workers);
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

t.test("the page and the summary count the answers that workers have under way", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const large = new Content("large", 64_000_000);
  front.add(large);
  const mirror = await startWorkers(t, front, 2);
  t.equal((await download(mirror.blobUrl(large.digest)).done).complete, true);
  await until("it is stored", async () => (await mirror.metric("entrepot_fills_running")) === 0);
  // A worker answers it by itself, and the client takes no more than fits into the socket.
  const sent = request(mirror.blobUrl(large.digest)).end();
  t.teardown(() => sent.destroy());
  sent.on("error", () => {});
  sent.on("response", (answer) => answer.pause());
  await until("the metric counts it", async () => (await mirror.metric(inFlight)) === 1);
  const asked = async (path: string) =>
    (await (await fetch(`http://${mirror.ops}/api/v1/${path}`)).json()) as object;
  t.match(await asked("stats"), { traffic: { inFlight: 1 } });
  t.match(await asked("node"), { inFlight: 1 });
});

t.test(
  "a tag that was pushed: no client gets the old one after the answer, whichever worker it asks",
  async (t) => {
    if (!requires(t, "linux", "docker-registry")) return;
    const registry = await startRegistry(t, await workDirectory(t));
    const far = { url: registry.href, username: "", password: "" };
    const mirror = await startWorkers(t, far, workers, {
      env: {
        ENTREPOT_TAG_TTL: "1h",
        ENTREPOT_UPSTREAM_PUSH: "true",
        ENTREPOT_UPSTREAM_USERNAME: "",
        ENTREPOT_UPSTREAM_PASSWORD: "",
      },
    });
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

t.test(
  "a worker whose event loop stands still is ended and replaced; the log says where it stood",
  async (t) => {
    if (!requires(t, "linux")) return;
    const preload = new URL("./fixtures/stand-still.ts", import.meta.url);
    const mirror = await startWorkers(t, await startFront(t), workers, { preload });
    const [victim] = await workersOf(mirror);
    process.kill(victim as number, "SIGUSR2");
    const told = await mirror.process.line((line) => lineOf(line, /its event loop stands still/), 60_000);
    t.match(told, { level: "error", pid: victim, stack: /^ {4}at standStill \(.*stand-still\.ts:\d+:\d+\)/ });
    await allRun(mirror, workers, victim);
    t.notOk(await isAlive(victim as number));
    t.match(await get(mirror, "/v2/"), { status: 200 });
  },
);

t.test("a worker that is stopped as a whole is ended and replaced", async (t) => {
  if (!requires(t, "linux")) return;
  const mirror = await startWorkers(t, await startFront(t), workers);
  const [victim] = await workersOf(mirror);
  process.kill(victim as number, "SIGSTOP");
  const told = await mirror.process.line((line) => lineOf(line, /no sign of life/), 60_000);
  t.match(told, { level: "error", pid: victim });
  await allRun(mirror, workers, victim);
  t.notOk(await isAlive(victim as number));
  t.match(await get(mirror, "/v2/"), { status: 200 });
});

t.test("SIGTERM: answers under way end first, in all workers; probes say so", async (t) => {
  if (!requires(t, "linux")) return;
  const front = await startFront(t);
  const content = new Content("drained", 16 * 2 ** 20);
  front.add(content);
  const mirror = await startWorkers(t, front, workers);
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
  const mirror = await startWorkers(t, front, workers);
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
  const mirror = await startWorkers(t, front, workers, { config });
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

t.test(
  "a client has so many answers open in all workers together, at whichever it has connected",
  async (t) => {
    if (!requires(t, "linux")) return;
    const front = await startFront(t);
    const blob = new Content("taken slowly", 16 * 1024 * 1024);
    front.add(blob);
    const mirror = await startWorkers(t, front, workers, { env: { ENTREPOT_LIMITS_OPEN_ANSWERS: "6" } });
    t.ok((await download(mirror.blobUrl(blob.digest)).done).complete);
    const open = new Set<IncomingMessage>();
    let begun = 0;
    let most = 0;
    let passOn = false;
    for (let i = 0; i < 12; i++)
      request(mirror.blobUrl(blob.digest), { agent: new Agent() }, (answer) => {
        begun++;
        most = Math.max(most, open.add(answer.pause()).size);
        if (passOn) end(answer);
      })
        .on("error", () => {})
        .end();
    const end = (answer: IncomingMessage) => {
      open.delete(answer);
      answer.destroy();
    };
    // Which worker gets a connection is for the kernel to say: all three that one of them may have, or all six.
    await until("some have begun", () => begun >= 3);
    for (let i = 0; i < 20; i++)
      t.equal((await get(mirror, "/v2/", "GET", undefined, undefined, "127.0.0.2")).status, 200, "others");
    t.ok(begun < 12, `${begun} have begun`);
    passOn = true;
    for (const answer of [...open]) end(answer);
    await until("the others begin", () => begun === 12);
    t.ok(most <= 6, `${most} open at once`);
  },
);
