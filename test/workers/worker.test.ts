// A worker, from its first message to its last: a real listener, and a primary that is the test's.
import { EventEmitter } from "node:events";
import { createServer } from "node:net";
import { PassThrough } from "node:stream";
import t, { type Test } from "tap";
import { Listener } from "../../src/http/listener.ts";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import type { RequestEvent } from "../../src/ports/event.ts";
import { readEvents } from "../../src/workers/events.ts";
import type { ToPrimary, ToWorker, WorkerSettings } from "../../src/workers/messages.ts";
import { WorkerNode } from "../../src/workers/worker.ts";
import { socketPathIn } from "../../src/workers/workers.ts";
import { digestOf } from "../fixtures/images.ts";
import { eventually, ManualClock, quiet } from "../fixtures/manual-time.ts";
import { ask } from "../fixtures/mirror.ts";
import { workerSettings } from "../fixtures/scripted-worker.ts";

const blob = Buffer.alloc(300_000, "layer");
const digest = parseDigest(digestOf(blob)) as Digest;
const path = `/v2/team/app/blobs/${digest}`;

interface SetUp {
  readonly settings?: Partial<WorkerSettings>;
  readonly lock?: (directory: string) => void;
}

/** A worker that has been told to start, and a primary that grants the blob to everyone. */
async function setUp(t: Test, { settings = {}, lock = () => {} }: SetUp = {}) {
  const clock = new ManualClock();
  const socket = socketPathIn(t.testdir());
  let asked = 0;
  const primary = new Listener({
    serve: (exchange) => {
      asked++;
      const upstream = "far";
      Object.assign(exchange.findings, { route: "blob", source: "disk", reference: digest });
      exchange.grant({
        kind: "blob",
        upstream,
        repository: "team/app" as never,
        digest,
        size: blob.length,
        age: 0,
        heads: true,
      });
    },
    pseudonym: "entrepot-test",
    cacheStatus: true,
    ofWorkers: true,
    unexpected: () => {},
    onEvent: () => {},
  });
  await primary.listen({ path: socket, mode: 0o600 });
  t.teardown(() => primary.stop());
  const said: ToPrimary[] = [];
  const channel = new EventEmitter();
  const worker = Object.assign(channel, { send: (message: ToPrimary) => said.push(message) > 0 });
  const events: RequestEvent[] = [];
  const pipe = new PassThrough();
  readEvents(pipe, { onEvent: (event) => events.push(event), lost: () => {} });
  let reading = 0;
  new WorkerNode({
    worker: worker as never,
    openFiles: (directory) => ({
      open: async () => {
        t.equal(directory, "/cache");
        reading++;
        return {
          size: blob.length,
          read: async (position, scratch) => scratch.subarray(0, blob.copy(scratch, 0, position)),
          close: async () => void reading--,
        };
      },
      openSpool: async () => undefined,
    }),
    lock,
    maxConnections: 100,
    events: pipe,
    clock: clock.read,
  });
  t.teardown(() => channel.emit("message", { kind: "drain" }));
  const tell = (message: ToWorker) => void channel.emit("message", message);
  const full = { ...workerSettings, listen: { host: "127.0.0.1", port: 0 }, socket, ...settings };
  tell({ kind: "start", settings: full });
  const saidOf = <K extends ToPrimary["kind"]>(kind: K) =>
    said.filter((message) => message.kind === kind) as Extract<ToPrimary, { readonly kind: K }>[];
  await eventually("it has started", () => saidOf("listening").length + saidOf("failed").length > 0);
  const port = () => String(saidOf("listening")[0]?.bound.port);
  const get = (target: string, method = "GET") =>
    ask({ hostname: "127.0.0.1", port: port() }, method, target);
  return { tell, saidOf, get, clock, events, settings: full, asked: () => asked, reading: () => reading };
}

t.test("it listens, and answers from what it was granted until that is forgotten", async (t) => {
  const { tell, saidOf, get, asked, events } = await setUp(t);
  t.match(await get(path), { status: 200, body: blob });
  t.match(await get(path), { status: 200, body: blob });
  t.equal(asked(), 1);
  tell({ kind: "forget", number: 7, forgets: [{ upstream: "far" }] });
  t.same(saidOf("done"), [{ kind: "done", number: 7 }]);
  t.match(await get(path), { status: 200, body: blob });
  t.equal(asked(), 2);
  await eventually("its events have come", () => events.length === 3);
  t.match(events[1], { result: "hit", status: 200, bytesSent: blob.length });
});

t.test("what it reads for clients it says when it begins and when it has ended", async (t) => {
  const { saidOf, get, reading } = await setUp(t);
  await get(path);
  await eventually("it has ended", () => saidOf("reading").length === 2);
  t.same(saidOf("reading"), [
    { kind: "reading", digest, change: 1 },
    { kind: "reading", digest, change: -1 },
  ]);
  t.equal(reading(), 0);
});

t.test("stored bytes that prove wrong: what was granted of them is forgotten", async (t) => {
  const { tell, get, asked } = await setUp(t);
  await get(path);
  tell({ kind: "wrong", digest });
  await get(path);
  t.equal(asked(), 2);
});

t.test("probes get what the primary said last, and 503 when it says nothing any more", async (t) => {
  const { tell, get, clock } = await setUp(t);
  const statuses = async () => [(await get("/readyz")).status, (await get("/livez")).status];
  t.same(await statuses(), [503, 200], "before a word");
  tell({ kind: "readiness", status: 200 });
  t.same(await statuses(), [200, 200]);
  tell({ kind: "readiness", status: 404 });
  t.same(await statuses(), [404, 200]);
  tell({ kind: "readiness", status: 200 });
  clock.advance(10_000);
  t.same(await statuses(), [200, 200]);
  clock.advance(1);
  t.same(await statuses(), [503, 503]);
  tell({ kind: "readiness", status: 200 });
  t.same(await statuses(), [200, 200]);
});

t.test("other settings count for the next request", async (t) => {
  const { tell, get, settings } = await setUp(t);
  t.ok((await get(path)).headers["cache-status"]);
  tell({ kind: "settings", settings: { ...settings, cacheStatus: false } });
  t.equal((await get(path)).headers["cache-status"], undefined);
});

t.test("drained is said when the events have been sent", async (t) => {
  const { tell, saidOf, get, events } = await setUp(t);
  await get(path);
  tell({ kind: "drain" });
  await eventually("it has drained", () => saidOf("drained").length === 1);
  await quiet();
  t.equal(events.length, 1);
  await t.rejects(get(path), { code: "ECONNREFUSED" });
});

t.test("a port that is taken is the primary's to know", async (t) => {
  const other = createServer();
  t.teardown(() => other.close());
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as { readonly port: number };
  const { saidOf } = await setUp(t, { settings: { listen: { host: "127.0.0.1", port } } });
  t.match(saidOf("failed"), [{ message: /EADDRINUSE/, error: { code: "EADDRINUSE", port } }]);
});

t.test("without the lock on the directory it does not listen", async (t) => {
  const { saidOf } = await setUp(t, {
    lock: (directory) => {
      throw new StoreError("unavailable", `cannot lock ${directory}`);
    },
  });
  t.match(saidOf("failed"), [{ message: "cannot lock /cache", error: { code: "unavailable" } }]);
  t.same(saidOf("listening"), []);
});

t.test(
  "a client that has as many answers open as it may have here waits for what the primary lends",
  async (t) => {
    const { get, tell, saidOf } = await setUp(t, { settings: { openAnswers: 2, workers: 4, waiting: 0 } });
    const answer = get(path);
    await eventually("it asks", () => saidOf("short").length === 1);
    t.same(saidOf("reading"), []);
    const network = saidOf("short")[0]?.network ?? "";
    tell({ kind: "lent", network, places: 1 });
    t.match(await answer, { status: 200, body: blob });
    await eventually("and gives back", () => saidOf("returned").length === 1);
    t.same(saidOf("returned"), [{ kind: "returned", network, places: 1 }]);
  },
);
