// Two nodes that share a Redis and an S3, with caches too small for what is pulled through them, while upstream, S3 and
// Redis come and go and say what is wrong: whatever a client gets complete is right to the byte, and at the end nothing
// is left over. SOAK_SECONDS (120) and SOAK_SEED (made up, and printed) say how long and what; with SOAK_WORKERS above 1 each
// node has so many processes, of which one after the other is killed. Run `node test/system/soak.test.ts` for more than a
// few minutes.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import t, { type Test } from "tap";
import { digestOf, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { type S3Fault, startS3 } from "../fixtures/scripted-s3.ts";
import { type Fault, startUpstream } from "../fixtures/scripted-upstream.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";
import type { StreamedAnswer } from "./fixtures/answer-stream.ts";
import { unkeptLeftovers } from "./fixtures/cache-directory.ts";
import { freePort } from "./fixtures/free-port.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { type OpenHandles, openHandles } from "./fixtures/open-handles.ts";
import { startRedis } from "./fixtures/redis.ts";
import { requires } from "./fixtures/requires.ts";
import { redisSettings } from "./fixtures/shared-services.ts";
import { until } from "./fixtures/until.ts";
import { converse } from "./fixtures/wire-client.ts";
import { workersOf } from "./fixtures/worker-node.ts";

const seconds = Number(process.env.SOAK_SECONDS ?? 120);
const seed = Number(process.env.SOAK_SEED ?? Math.floor(Math.random() * 2 ** 32));
const workers = Number(process.env.SOAK_WORKERS ?? 1);
const clients = 24;
/** Milliseconds before the kill of a worker in which an answer may have ended whose event is lost. */
const lossy = 2_000;
const maxSize = "24MB";
/** Bytes that a warm process may grow by. */
const growth = 150_000_000;

t.setTimeout((seconds + 240) * 1000);

const MiB = 1024 * 1024;
const repositories = ["team/app", "team/base"] as const;
const images = [
  makeImage({ layers: [6 * MiB + 13, 300_000, 65_536], seed: "a" }),
  makeImage({ layers: [3 * MiB, 65_537, 1], seed: "b" }),
  makeImage({ layers: [9 * MiB + 7, 700_000, 40], seed: "c" }),
];
/** What is in no manifest, so that every repository has to be asked for it. */
const loose = [4 * MiB + 1, 128 * 1024, 12].map((size) => randomBytesFor(`loose ${size}`, size));
const contents = new Map<string, Buffer>();
for (const { digest, manifest, config, layers } of images) {
  contents.set(digest, manifest);
  for (const { digest, bytes } of [config, ...layers]) contents.set(digest, bytes);
}
for (const bytes of loose) contents.set(digestOf(bytes), bytes);
const manifestDigests = images.map(({ digest }) => digest);
/** What manifests that both nodes have seen name, in both repositories. */
const named = new Set<string>(
  images.flatMap(({ config, layers }) => [config, ...layers].map(({ digest }) => digest)),
);
const blobDigests = [...contents.keys()].filter((digest) => !manifestDigests.includes(digest as never));

function upstreamFault(chaos: SeededRandom, kind: string): Fault | undefined {
  if (!chaos.chance(0.12)) return undefined;
  const small: readonly Fault[] = [
    { status: chaos.pick([500, 502, 503]) },
    { reset: true },
    { corrupt: true },
    { cutAfter: chaos.below(100) },
    { delayMs: chaos.below(500) },
    { noLength: true },
    { gzip: true },
    { html: true },
    { headers: { "content-length": "0" }, body: "" },
    { headers: { "content-length": "777" }, body: "x".repeat(777) },
  ];
  const large: readonly Fault[] = [
    { cutAfter: chaos.below(4 * MiB) },
    { cutAfter: chaos.below(4 * MiB), reset: true },
    { cutAfter: chaos.below(4 * MiB), noLength: true },
    { stallAfter: chaos.below(2 * MiB), releaseOn: delay(chaos.below(4_000)) },
    { throttle: 1_000_000 + chaos.below(8_000_000) },
    { extraBytes: 1 + chaos.below(9) },
    { ignoreRange: true },
    { wrongContentRange: true },
  ];
  return chaos.pick(kind === "blob" ? [...small, ...large] : small);
}

function s3Fault(chaos: SeededRandom): S3Fault | undefined {
  if (!chaos.chance(0.08)) return undefined;
  return chaos.pick<S3Fault>([
    { status: 503 },
    { reset: true },
    { cutAfter: chaos.below(2 * MiB) },
    { corrupt: true },
    { spoil: true },
    { loseAnswer: true },
    { extraBytes: 1 },
    { stallAfter: chaos.below(MiB), releaseOn: delay(4_000) },
    { throttle: 2_000_000 },
  ]);
}

interface Asked {
  readonly id: string;
  readonly method: string;
  /** What is asked for, unless it is a tag. */
  readonly digest: string;
  readonly bytes: Buffer;
}

function ask(random: SeededRandom, id: string): Asked {
  const method = random.chance(0.15) ? "HEAD" : "GET";
  const repository = random.pick(repositories);
  const kind = random.below(10);
  const digest = kind < 7 ? random.pick(blobDigests) : random.pick(manifestDigests);
  const tag = `t${random.below(images.length)}`;
  const path = kind < 7 ? `blobs/${digest}` : `manifests/${kind < 9 ? tag : digest}`;
  const fields = ["Host: mirror", `X-Request-Id: ${id}`];
  const size = contents.get(digest)?.length ?? 1;
  if (kind < 7 && random.chance(0.3)) {
    const from = random.below(size);
    const to = from + random.below(size - from);
    fields.push(`Range: bytes=${random.pick([`${from}-${to}`, `${from}-`, `-${to - from + 1}`])}`);
  }
  return {
    id,
    method,
    digest: kind < 7 || kind === 9 ? digest : "",
    bytes: Buffer.from(`${method} /v2/${repository}/${path} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`),
  };
}

/**
 * Undefined when every byte is that of the digest the answer names, and all of them if it is a complete 200. How long a
 * blob is in all only upstream can say before the digest is known, to HEAD and of a range: but never that it is empty,
 * nor anything else than a manifest of the repository says, whether or not the answer is complete.
 */
function mistake(answer: StreamedAnswer, method: string, askedFor: string): string | undefined {
  const { status, headers, body, complete } = answer;
  if (status === 416) return wrongSize(answer, method, askedFor);
  if (status !== 200 && status !== 206) return undefined;
  const digest = headers.get("docker-content-digest") ?? "";
  const content = contents.get(digest);
  if (content === undefined) return `${status} of ${digest}`;
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get("content-range") ?? "");
  if (status === 206 && range === null) return "206 without a Content-Range";
  const why = wrongSize(answer, method, digest);
  if (why !== undefined || method === "HEAD") return why;
  const wanted = range === null ? content : content.subarray(Number(range[1]), Number(range[2]) + 1);
  // What comes of a cut answer may be wrong: nobody takes it for the whole.
  if (!complete || body.equals(wanted)) return undefined;
  // Upstream sends wrong bytes, and nobody can check a part before all of the blob is here: then it is marked.
  if (status === 206 && isUnverified(answer)) return undefined;
  return `complete ${status} with wrong bytes, ${body.length} of ${wanted.length}`;
}

function isUnverified({ headers }: StreamedAnswer): boolean {
  return headers.get("cache-status")?.includes("; detail=unverified") === true;
}

/** What the head of the answer says the whole is long, if that is wrong. */
function wrongSize({ status, headers }: StreamedAnswer, method: string, digest: string): string | undefined {
  const size = contents.get(digest)?.length;
  const range = headers.get("content-range");
  const total = status === 200 ? headers.get("content-length") : /\/(\d+)$/.exec(range ?? "")?.[1];
  if (total === undefined || Number(total) === size) return undefined;
  if (named.has(digest)) return `${method}: ${status} says ${total} bytes, its manifest ${size}`;
  return total === "0" ? `${method}: ${status} says 0 bytes of ${size}` : undefined;
}

interface Node {
  readonly mirror: Mirror;
  readonly port: number;
  /** Body bytes by request id, once for every event. */
  readonly events: Map<string, number[]>;
  readonly complaints: string[];
  warm: OpenHandles;
  middle: number;
}

t.test(`seed ${seed}, ${seconds} s`, async (t) => {
  if (!requires(t, "linux", "redis-server")) return;
  t.comment(`SOAK_SEED=${seed}`);
  const chaos = new SeededRandom(seed ^ 0x5eed);
  const [upstream, s3, redis] = [await startUpstream(t), await startS3(t), await startRedis(t)];
  for (const repository of repositories) {
    images.forEach((image, at) => void upstream.addImage(repository, `t${at}`, image));
    for (const bytes of loose) upstream.addBlob(repository, bytes);
  }
  const far = { url: upstream.url.href, username: upstream.username, password: upstream.password };
  const nodes = [await startNode(t, "a", far, s3, redis), await startNode(t, "b", far, s3, redis)];
  for (const { mirror } of nodes) await seeManifests(mirror);
  const heal = [
    upstream.fault(({ kind }) => upstreamFault(chaos, kind)),
    s3.fault(({ operation }) => (operation === "bucket" ? undefined : s3Fault(chaos))),
  ];

  const wrong: string[] = [];
  const tally = { conversations: 0, answers: 0, whole: 0, partial: 0, unverified: 0, left: 0, bytes: 0 };
  const statuses: Record<string, number> = {};
  /** Requests whose answer began, with the bytes of a body that came to its end. */
  const answered = new Map<string, { node: Node; whole: number | undefined; began: number; ended: number }>();
  /** When workers were killed, by performance.now(). */
  const kills: number[] = [];
  const asked = new Set<string>();

  async function conversation(number: number): Promise<void> {
    const random = new SeededRandom((seed + Math.imul(number + 1, 0x9e3779b1)) >>> 0);
    const node = random.pick(nodes);
    const requests = Array.from({ length: random.chance(0.2) ? 2 + random.below(4) : 1 }, (_, at) =>
      ask(random, `s-${number}-${at}`),
    );
    const byId = new Map(requests.map((request) => [request.id, request]));
    for (const { id } of requests) asked.add(id);
    const manner = random.pick(["fast", "fast", "fast", "slow", "leaves", "resets", "pauses"]);
    const leaves = manner === "leaves" || manner === "resets";
    const began = performance.now();
    let longPause = manner === "pauses" ? 1_000 + random.below(2_000) : 0;
    const { stream, left } = await converse({
      port: node.port,
      parts: requests.map(({ bytes }) => bytes),
      isHead: (id) => (id === undefined ? undefined : byId.get(id)?.method === "HEAD"),
      answers: requests.length,
      limit: 60_000,
      leaveAt: leaves ? random.below(3 * MiB) : Number.POSITIVE_INFINITY,
      reset: manner === "resets",
      pause: () => {
        if (manner === "slow") return 2 + random.below(8);
        const pause = longPause;
        longPause = 0;
        return pause;
      },
    });
    tally.conversations++;
    if (left) tally.left++;
    const of = (answer: StreamedAnswer) => `SOAK_SEED=${seed}, ${answer.id} (${manner})`;
    if (stream.junk !== undefined)
      wrong.push(`SOAK_SEED=${seed}, ${number}: no HTTP: ${stream.junk.subarray(0, 100).toString("latin1")}`);
    for (const answer of stream.answers) {
      tally.answers++;
      tally.bytes += answer.body.length;
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      if (answer.complete && answer.status < 300) tally.whole++;
      if (!answer.complete) tally.partial++;
      if (isUnverified(answer)) tally.unverified++;
      const { method = "", digest = "" } = byId.get(answer.id ?? "") ?? {};
      if (answer.id !== undefined)
        answered.set(answer.id, {
          node,
          whole: answer.complete ? answer.body.length : undefined,
          began,
          ended: performance.now(),
        });
      const why = answer.status === 500 ? "status 500" : mistake(answer, method, digest);
      if (why !== undefined) wrong.push(`${of(answer)}: ${why}`);
    }
  }

  const deadline = performance.now() + seconds * 1000;
  const running = () => performance.now() < deadline && wrong.length < 20;
  let next = 0;
  const pulling = Array.from({ length: clients }, async () => {
    while (running() && nodes.every(({ mirror }) => mirror.process.running)) await conversation(next++);
  });
  const flapping = (async () => {
    while (running()) {
      await delay(3_000 + chaos.below(5_000));
      const [gone, back] = chaos.pick([
        [() => upstream.stop(), () => upstream.start()],
        [() => s3.stop(), () => s3.start()],
        [() => redis.kill(), () => redis.start()],
      ]);
      await gone();
      await delay(1_000 + chaos.below(3_000));
      await back();
    }
  })();
  const killing = (async () => {
    while (workers > 1 && running()) {
      await delay(8_000 + chaos.below(8_000));
      const pids = await workersOf(chaos.pick(nodes).mirror);
      if (pids.length < 2) continue;
      kills.push(performance.now());
      process.kill(chaos.pick(pids), "SIGKILL");
    }
  })();
  const watching = (async () => {
    await delay(seconds * 250);
    for (const node of nodes) node.warm = await handlesOf(node);
    await delay(seconds * 250);
    for (const node of nodes) node.middle = (await handlesOf(node)).memory;
  })();
  await Promise.all([...pulling, flapping, killing, watching]);
  for (const lift of heal) lift();

  t.same(wrong.slice(0, 20), [], "every complete answer is right to the byte, or a part with a mark");
  t.ok(tally.whole > 0 && (statuses["200"] ?? 0) > tally.answers / 3, JSON.stringify(statuses));
  for (const [at, node] of nodes.entries()) await t.test(`node ${at}`, (t) => leftOver(t, node));

  let lost = 0;
  const counts = [...answered].flatMap(([id, { node, whole, began, ended }]) => {
    const events = node.events.get(id) ?? [];
    if (events.length === 0 && kills.some((kill) => began <= kill && kill <= ended + lossy)) {
      lost++;
      return [];
    }
    const right = events.length === 1 && (whole === undefined || events[0] === whole);
    return right ? [] : [`${id}: ${events.length} events of ${events} bytes, ${whole} came`];
  });
  t.same(counts.slice(0, 10), [], "one event for each request that was answered, with its bytes");
  const twice = [...asked].filter((id) => nodes.some(({ events }) => (events.get(id)?.length ?? 0) > 1));
  t.same(twice.slice(0, 10), [], "and never two");
  t.comment(JSON.stringify({ seed, ...tally, asked: asked.size, statuses, kills: kills.length, lost }));
});

/** The node knows from here on what every manifest says. */
async function seeManifests(mirror: Mirror): Promise<void> {
  for (const repository of repositories)
    for (const at of images.keys()) {
      const answer = await fetch(`${mirror.url}/v2/${repository}/manifests/t${at}`);
      await answer.arrayBuffer();
      if (!answer.ok) throw new Error(`${answer.status} to a manifest before anything goes wrong`);
    }
}

async function startNode(
  t: Test,
  name: string,
  far: Parameters<typeof startMirror>[1],
  s3: Awaited<ReturnType<typeof startS3>>,
  redis: Awaited<ReturnType<typeof startRedis>>,
): Promise<Node> {
  const port = await freePort();
  const mirror = await startMirror(t, far, {
    listen: `127.0.0.1:${port}`,
    env: {
      ...redisSettings(redis),
      ENTREPOT_S3_BUCKET: s3.bucket,
      ENTREPOT_S3_ENDPOINT: s3.url.href,
      ENTREPOT_S3_ACCESS_KEY_ID: "key",
      ENTREPOT_S3_SECRET_ACCESS_KEY: "secret",
      ENTREPOT_NODE_NAME: name,
      ENTREPOT_NODE_ADDRESS: `http://127.0.0.1:${port}`,
      ENTREPOT_CACHE_MAX_SIZE: maxSize,
      ENTREPOT_CACHE_KEEP_FREE: "0%",
      ENTREPOT_TAG_TTL: "1s",
      ENTREPOT_UPSTREAM_FIRST_BYTE_TIMEOUT: "3s",
      ENTREPOT_UPSTREAM_IDLE_TIMEOUT: "2s",
      ENTREPOT_LOG_LEVEL: "debug",
      ENTREPOT_WORKERS: String(workers),
    },
  });
  const events = new Map<string, number[]>();
  const complaints: string[] = [];
  void mirror.process
    .line(
      (text) => {
        if (!text.startsWith("{")) return undefined;
        const line = JSON.parse(text) as { msg?: string; id?: string; bytes?: number; level?: string };
        if (line.msg === "request" && line.id?.startsWith("s-"))
          events.set(line.id, [...(events.get(line.id) ?? []), line.bytes ?? Number.NaN]);
        if (line.level === "fatal" || /nobody foresaw/.test(text)) complaints.push(text);
        return undefined;
      },
      2 ** 31 - 1,
    )
    .catch(() => {});
  const warm = await openHandles(mirror.process.pid, mirror.cacheDirectory);
  return { mirror, port, events, complaints, warm, middle: 0 };
}

function handlesOf({ mirror }: Node): Promise<OpenHandles> {
  return openHandles(mirror.process.pid, mirror.cacheDirectory);
}

/** After everything: the process lives, and has closed, removed and kept what it should. */
async function leftOver(t: Test, node: Node): Promise<void> {
  const { mirror, complaints, warm, middle } = node;
  t.ok(mirror.process.running, "the process lives");
  t.same(complaints, [], "nothing that nobody foresaw");
  const zero = async (name: string) => (await mirror.metric(name)) === 0;
  await until(`no request in flight`, () => zero("entrepot_http_in_flight_requests"), 60_000);
  await until(`no fill runs`, () => zero("entrepot_fills_running"), 60_000);
  let end = await handlesOf(node);
  const open = () => end.files.filter((path) => /\/(spool|blobs)\//.test(path));
  await until(
    "files are closed",
    async () => {
      end = await handlesOf(node);
      return open().length === 0;
    },
    60_000,
  ).catch(() => {});
  t.same(open(), [], "no blob and no spool file is open");
  t.ok(end.all <= warm.all + 40, `${end.all} handles, ${warm.all} when it was warm`);
  const [now, then] = [end.memory, middle].map((bytes) => Math.round(bytes / 1e6));
  t.ok(end.memory < middle + growth, `${now} MB at the end, ${then} MB half-way`);
  // What nobody followed for a minute is kept to be resumed, with its record.
  t.same(await unkeptLeftovers(mirror.cacheDirectory), [], "no temporary file");
  const rotten: string[] = [];
  let stored = 0;
  const blobs = join(mirror.cacheDirectory, "blobs");
  for (const entry of await readdir(blobs, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    stored++;
    const hash = createHash("sha256");
    await pipeline(createReadStream(join(entry.parentPath, entry.name)), hash);
    if (hash.digest("hex") !== entry.name) rotten.push(entry.name);
  }
  t.ok(stored > 0, `${stored} blobs are stored`);
  t.same(rotten, [], "and each is what it is named for");
}
