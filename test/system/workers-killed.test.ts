// kill -9 of any process of a node of several, again and again, while clients pull: whoever goes on where it was broken off
// gets the right bytes, and nothing is lost or left over but what was the killed process's own. WORKER_KILLS (8) and
// PRIMARY_KILLS (5) say how often; KILL_SEED (made up, and printed) whom and when.
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import { SeededRandom } from "../fixtures/seeded-random.ts";
import { rehash, unkeptLeftovers } from "./fixtures/cache-directory.ts";
import { Content } from "./fixtures/content.ts";
import { freePort } from "./fixtures/free-port.ts";
import { type Front, startFront } from "./fixtures/front.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { resumedDownload, type Try } from "./fixtures/resumed-download.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { allRun, isAlive, lineOf, startWorkers, workersOf } from "./fixtures/worker-node.ts";

const workerKills = Number(process.env.WORKER_KILLS ?? 8);
const primaryKills = Number(process.env.PRIMARY_KILLS ?? 5);
const seed = Number(process.env.KILL_SEED ?? Math.floor(Math.random() * 2 ** 32));
const workers = 4;
const clients = 8;
/**
 * Milliseconds from the end of an answer in which its event is sent and its line written: 5 each by the timers of those
 * processes, and what they become where many others run.
 */
const unsent = 2_000;

t.setTimeout((workerKills + primaryKills) * 60_000 + 300_000);

/** Blobs that are asked for again and again, one of each way to be answered: from memory, in one read, in many. */
const known = [1_000, 300_000, 4_000_000].map((size, at) => new Content(`known ${at}`, size));

/** Blobs that nobody has asked for before. */
function coldBlobs(round: number, random: SeededRandom): Content[] {
  return [100, 60_000, 1_000_000, 6_000_000].map(
    (size, at) => new Content(`${seed} round ${round} blob ${at}`, size + random.below(size)),
  );
}

/** Clients that pull what they are given, until they are stopped, and what they have seen. */
class Load {
  readonly tries: Try[] = [];
  readonly wrong: string[] = [];
  whole = 0;
  #blobs: readonly Content[];
  #over = false;
  readonly #clients: Promise<unknown>;

  constructor(urlOf: (digest: string) => string, blobs: readonly Content[]) {
    this.#blobs = blobs;
    this.#clients = Promise.all(
      Array.from({ length: clients }, async (_, client) => {
        for (let turn = client; !this.#over; turn++) {
          const blob = this.#blobs[turn % this.#blobs.length] as Content;
          const { tries, digest } = await resumedDownload(urlOf(blob.digest), blob, `k-${client}-${turn}`);
          this.tries.push(...tries);
          if (digest !== blob.digest) this.wrong.push(`${blob.digest}: ${digest}`);
          this.whole++;
        }
      }),
    );
    this.#clients.catch(() => {});
  }

  /** From now on these. */
  pull(blobs: readonly Content[]): void {
    this.#blobs = blobs;
  }

  /** Resolves when so many more blobs have come whole. */
  async more(count: number): Promise<void> {
    const enough = this.whole + count;
    await Promise.race([this.#clients, until("clients are served", () => this.whole >= enough, 120_000)]);
  }

  /** Lets every client end what it pulls. Rejects with what went wrong with one. */
  async stop(): Promise<void> {
    this.#over = true;
    await this.#clients;
  }
}

/** Counts the lines about requests of a load, by request id. */
function countEvents(mirror: Mirror, events: Map<string, number>): void {
  const count = (text: string): undefined => {
    const id = lineOf(text, /^request$/)?.id;
    if (typeof id === "string" && id.startsWith("k-")) events.set(id, (events.get(id) ?? 0) + 1);
  };
  mirror.process.line(count, 2 ** 31 - 1).catch(() => {});
}

/** When a process was killed, and when it and its workers had ended; by performance.now(). */
interface Kill {
  readonly at: number;
  readonly gone: number;
}

/** Kills the process and waits until it and those have ended. */
async function kill(pid: number, ...those: readonly number[]): Promise<Kill> {
  const at = performance.now();
  process.kill(pid, "SIGKILL");
  await until(
    "they have ended",
    async () => !(await Promise.all([pid, ...those].map(isAlive))).includes(true),
  );
  return { at, gone: performance.now() };
}

/** Answers that came whole and have no event, long before or after a kill; and events that came twice. */
function miscounted(tries: readonly Try[], events: ReadonlyMap<string, number>, kills: readonly Kill[]) {
  const missing = tries.filter(({ id, answer }) => answer?.complete === true && !events.has(id));
  // What a process has sent is on its way to the client, also when it has ended.
  const excused = (endedAt: number) =>
    kills.some(({ at, gone }) => at - unsent < endedAt && endedAt < gone + unsent);
  return {
    lost: missing.length,
    unexcused: missing.filter(({ endedAt }) => !excused(endedAt)),
    /** Milliseconds before the kill, of the first of them. */
    earliest: Math.round(Math.max(0, ...missing.map(({ endedAt }) => before(endedAt, kills)))),
    twice: [...events].filter(([, count]) => count > 1).map(([id]) => id),
  };
}

/** Milliseconds to the nearest kill; below 0 after it. */
function before(endedAt: number, kills: readonly Kill[]): number {
  const distances = kills.map(({ at }) => at - endedAt);
  return distances.reduce((nearest, each) => (Math.abs(each) < Math.abs(nearest) ? each : nearest));
}

/** How often upstream was asked for the whole of each blob. */
function fetches(front: Front, blobs: readonly Content[]): readonly number[] {
  const paths = front.log.blobGets().map(({ path }) => path);
  return blobs.map(({ digest }) => paths.filter((path) => path.endsWith(digest)).length);
}

t.test(`a random worker is killed ${workerKills} times`, async (t) => {
  if (!requires(t, "linux")) return;
  t.comment(`KILL_SEED=${seed}`);
  const random = new SeededRandom(seed);
  const front = await startFront(t);
  front.add(...known);
  const mirror = await startWorkers(t, front, workers, { listen: `127.0.0.1:${await freePort()}` });
  const events = new Map<string, number>();
  countEvents(mirror, events);
  const load = new Load((digest) => mirror.blobUrl(digest), known);
  const kills: Kill[] = [];
  const all: Content[] = [...known];
  for (let round = 0; round < workerKills; round++) {
    const cold = coldBlobs(round, random);
    front.add(...cold);
    all.push(...cold);
    load.pull([...known, ...cold]);
    await load.more(random.below(2 * clients));
    const victim = random.pick(await workersOf(mirror));
    kills.push(await kill(victim));
    await allRun(mirror, workers, victim);
    await load.more(2 * clients);
  }
  await t.resolves(load.stop());
  t.same(load.wrong, [], "every blob came with the right bytes");
  t.ok(Math.max(...fetches(front, all)) === 1, "and none was fetched twice");
  const broken = load.tries.filter(({ answer }) => answer?.complete !== true).length;
  t.ok(broken <= workerKills * clients, `${broken} answers broke off of ${load.tries.length}`);
  const zero = async (name: string) => (await mirror.metric(name)) === 0;
  await until("nothing is in flight", () => zero("entrepot_http_in_flight_requests"), 60_000);
  t.ok(await zero("entrepot_fills_running"));
  t.equal(await mirror.metric("entrepot_telemetry_lost_total"), 0);
  t.same(await unkeptLeftovers(mirror.cacheDirectory), [], "no temporary file is left");
  t.same((await rehash(mirror.cacheDirectory)).wrong, []);
  t.same(await mirror.stop(), { code: 0, signal: null });
  const { lost, earliest, unexcused, twice } = miscounted(load.tries, events, kills);
  t.same(unexcused, [], `events are lost only just before a kill: ${lost} of ${load.tries.length}`);
  t.same(twice, [], "and none comes twice");
  const tries = load.tries.length;
  t.comment(JSON.stringify({ seed, kills: kills.length, whole: load.whole, tries, broken, lost, earliest }));
});

t.test(
  `the primary is killed ${primaryKills} times, and the next one starts at once on the same port`,
  async (t) => {
    if (!requires(t, "linux")) return;
    t.comment(`KILL_SEED=${seed}`);
    const random = new SeededRandom(seed ^ 0x5eed);
    const front = await startFront(t);
    front.add(...known);
    const cacheDirectory = await workDirectory(t);
    const options = { cacheDirectory, listen: `127.0.0.1:${await freePort()}` };
    let mirror = await startWorkers(t, front, workers, options);
    const events = new Map<string, number>();
    countEvents(mirror, events);
    const load = new Load((digest) => mirror.blobUrl(digest), known);
    const kills: Kill[] = [];
    let unfinished = 0;
    for (let round = 0; round < primaryKills; round++) {
      const cold = coldBlobs(1_000 + round, random);
      front.add(...cold);
      load.pull([...known, ...cold]);
      await load.more(random.below(2 * clients));
      await delay(random.below(50));
      const former = await workersOf(mirror);
      const gone = kill(mirror.process.pid, ...former);
      await until("the primary has ended", async () => !(await isAlive(mirror.process.pid)));
      // At once, as whatever supervises it would.
      const env = { ENTREPOT_WORKERS: String(workers), ENTREPOT_LOG_LEVEL: "debug" };
      const starting = startMirror(t, front, { ...options, env });
      mirror = await starting;
      const alive = await Promise.all(former.map(isAlive));
      t.notOk(alive.includes(true), `round ${round}: no worker of the one before is left when it listens`);
      kills.push(await gone);
      countEvents(mirror, events);
      await allRun(mirror, workers);
      await load.more(2 * clients);
      unfinished += (await rehash(cacheDirectory)).wrong.length;
    }
    await t.resolves(load.stop());
    t.same(load.wrong, [], "every blob came with the right bytes");
    t.equal(unfinished, 0, "nothing stored was partial");
    const broken = load.tries.filter(({ answer }) => answer?.complete !== true).length;
    t.same(await mirror.stop(), { code: 0, signal: null });
    const { lost, earliest, unexcused, twice } = miscounted(load.tries, events, kills);
    t.same(unexcused, [], `events are lost only just before a kill: ${lost} of ${load.tries.length}`);
    t.same(twice, [], "and none comes twice");
    t.same(await unkeptLeftovers(cacheDirectory), [], "no temporary file is left");
    const tries = load.tries.length;
    t.comment(
      JSON.stringify({ seed, kills: kills.length, whole: load.whole, tries, broken, lost, earliest }),
    );
  },
);

t.test(
  "while a worker of a killed primary still runs, no other process begins on its directory",
  async (t) => {
    if (!requires(t, "linux")) return;
    const front = await startFront(t);
    const cacheDirectory = await workDirectory(t);
    const mirror = await startWorkers(t, front, 2, { cacheDirectory });
    const [stopped = 0] = await workersOf(mirror);
    process.kill(stopped, "SIGSTOP");
    t.teardown(async () => {
      if (await isAlive(stopped)) process.kill(stopped, "SIGKILL");
    });
    // Not until its output ends: the worker has that, too.
    await kill(mirror.process.pid);
    await t.rejects(startWorkers(t, front, 1, { cacheDirectory }), {
      message: /is in use by workers of a process that has ended/,
    });
    process.kill(stopped, "SIGCONT");
    const next = await startWorkers(t, front, 2, { cacheDirectory });
    t.notOk(await isAlive(stopped));
    t.same(await next.stop(), { code: 0, signal: null });
  },
);
