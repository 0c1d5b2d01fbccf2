// A blob on its way that a worker sends from the file of the spool, while the primary fills it: the real policy over a real
// store in the primary, an upstream in memory.
import { request } from "node:http";
import t, { type Test } from "tap";
import { handleBlob } from "../../src/http/blob-handler.ts";
import { BufferPool } from "../../src/http/buffer-pool.ts";
import { failWith } from "../../src/http/error.ts";
import type { Exchange } from "../../src/http/exchange.ts";
import type { StoredBlob } from "../../src/ports/blobs.ts";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import { type DiskReader, openSpooled } from "../../src/storage/disk/reader.ts";
import { type CacheFixture, mebibyte, nothingLeft, openCache } from "../fixtures/cache-fixture.ts";
import { failing, fullAt } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";
import { type PairOptions, startPair, type WorkerPair } from "../fixtures/worker-pair.ts";

const bytes = randomBytesFor("layer", 3 * mebibyte + 123);

interface Node extends WorkerPair {
  readonly cache: CacheFixture;
  /** Path of the blob. */
  readonly path: string;
}

async function startNode(t: Test, options: Partial<PairOptions> = {}): Promise<Node> {
  const cache = await openCache(t, { windowBytes: mebibyte });
  const { blobs, confirmations, upstream, directory } = cache;
  const digest = upstream.addBlob("team/app", bytes);
  const handler = { blobs, confirmations, pool: new BufferPool(), coldFills: new Map() };
  const remote = remoteRepository(upstream, repo("team/app"));
  const serve = (exchange: Exchange): void => {
    exchange.findings.route = "blob";
    handleBlob(exchange, handler, remote, digest).catch((error: unknown) => {
      if (!exchange.closed) failWith(exchange, error);
    });
  };
  const pair = await startPair(t, { serve, directory, ...options });
  return { ...pair, cache, path: `/v2/team/app/blobs/${digest}` };
}

t.test("clients of a cold blob are sent it from the spool, by the worker", async (t) => {
  const { cache, ...node } = await startNode(t);
  const all = gate();
  cache.upstream.transfers.push({ hold: { at: 2 * mebibyte, until: all.opened } });
  const first = node.ask("GET", node.path);
  await eventually("the first is being answered", () => cache.blobs.fills[0]?.followers === 1);
  const second = node.ask("GET", node.path);
  await eventually("the other follows", () => cache.blobs.fills[0]?.followers === 2);
  all.open();
  const [whole, joined] = await Promise.all([first, second]);
  t.match(whole, { status: 200, body: bytes, complete: true });
  t.equal(whole.headers["cache-status"], "entrepot; fwd=uri-miss");
  t.match(joined, { status: 200, body: bytes, complete: true });
  t.equal(cache.upstream.count("GET blob"), 1);
  t.equal(cache.store.count("readSpool"), 0, "the primary reads nothing for them");
  await eventually("every request has its event", () => node.events.worker.length === 2);
  t.same(node.events.primary, []);
  t.same(
    node.events.worker.map(({ result, source, bytesSent }) => ({ result, source, bytesSent })).sort(by),
    [
      { result: "joined", source: "upstream:up", bytesSent: bytes.length },
      { result: "miss", source: "upstream:up", bytesSent: bytes.length },
    ],
  );
  t.match(await node.ask("GET", node.path), { status: 200, body: bytes });
  await nothingLeft(t, cache);
});

t.test(
  "a range is answered by the primary, which may have its bytes before those the fill brings",
  async (t) => {
    const { cache, ...node } = await startNode(t);
    const all = gate();
    t.teardown(all.open);
    cache.upstream.transfers.push({ hold: { at: 100_000, until: all.opened } });
    const range = `bytes=${bytes.length - 60}-`;
    const answer = await node.ask("GET", node.path, { range });
    t.match(answer, { status: 206, body: bytes.subarray(-60), complete: true });
    t.equal(answer.headers["cache-status"], "entrepot; fwd=uri-miss; detail=unverified");
    t.equal(cache.upstream.count("GET blob"), 2);
    await eventually("it has one event", () => node.events.worker.length + node.events.primary.length === 1);
    all.open();
    await eventually("the fill is over", () => cache.blobs.fills.length === 0);
    await nothingLeft(t, cache);
  },
);

function by(a: { result: string; bytesSent: number }, b: { result: string; bytesSent: number }): number {
  return a.result.localeCompare(b.result) || a.bytesSent - b.bytesSent;
}

/** A client that has been sent the first bytes of the blob. */
async function begun(
  t: Test,
  { port, path }: Node,
): Promise<{ readonly got: Buffer[]; over: Promise<unknown>; leave(): void }> {
  const got: Buffer[] = [];
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const sent = request({ port, path, agent: false }, (answer) => {
    answer
      .on("data", (chunk: Buffer) => got.push(chunk))
      .on("close", resolve)
      .on("error", () => {});
  });
  sent.on("error", () => {}).end();
  const leave = (): void => void sent.destroy();
  t.teardown(leave);
  await eventually("bytes have come", () => got.length > 0);
  return { got, over, leave };
}

t.test("a client waits for a few bytes only as long as they need, not for a whole batch", async (t) => {
  const node = await startNode(t);
  const all = gate();
  node.cache.upstream.transfers.push({ hold: { at: 100_000, until: all.opened } });
  const { got, over } = await begun(t, node);
  await eventually("what has come has been sent", () => Buffer.concat(got).length >= 98_304);
  all.open();
  await over;
  t.ok(Buffer.concat(got).equals(bytes));
});

t.test("when the store takes no more, the rest comes from the primary's memory", async (t) => {
  for (const [at, range] of [
    [0, undefined],
    [mebibyte, undefined],
    [mebibyte, "bytes=900000-"],
  ] as const) {
    await t.test(`full at ${at}, ${range ?? "the whole"}`, async (t) => {
      const { cache, ...node } = await startNode(t);
      cache.store.faults.set("append", fullAt(at));
      const answer = await node.ask("GET", node.path, range === undefined ? {} : { range });
      t.equal(answer.complete, true);
      t.ok(answer.body.equals(range === undefined ? bytes : bytes.subarray(900_000)));
      if (range === undefined) t.equal(cache.upstream.count("GET blob"), 1);
      t.equal(cache.upstream.bytesSent, bytes.length, "every byte once");
      await nothingLeft(t, cache);
    });
  }
});

t.test("a blob that is not stored at all is passed on by the primary", async (t) => {
  const { cache, ...node } = await startNode(t);
  cache.store.faults.set("create", failing("no_space"));
  t.match(await node.ask("GET", node.path), { status: 200, body: bytes, complete: true });
  await eventually("it has its event", () => node.events.worker.length + node.events.primary.length === 1);
});

t.test("a spool that is gone before the worker opens it: the primary answers", async (t) => {
  const { cache, ...node } = await startNode(t, { openSpool: async () => undefined });
  t.match(await node.ask("GET", node.path), { status: 200, body: bytes, complete: true });
  t.equal(cache.upstream.count("GET blob"), 1);
  await eventually("it has one event", () => node.events.worker.length + node.events.primary.length === 1);
});

t.test("a fill that fails ends its clients' answers short, and the event says why", async (t) => {
  const { cache, ...node } = await startNode(t);
  const cutWith = new UpstreamError("protocol", "upstream sends nonsense");
  for (let i = 0; i < 50; i++) cache.upstream.transfers.push({ cutAt: 1_500_000, cutWith });
  const answer = await node.ask("GET", node.path);
  t.equal(answer.complete, false);
  t.ok(bytes.subarray(0, answer.body.length).equals(answer.body));
  await eventually("it has its event", () => node.events.worker.length === 1);
  t.match(node.events.worker[0], { result: "error", abortedBy: "upstream", detail: "protocol" });
  t.same(node.events.primary, []);
});

t.test("wrong bytes are never a complete answer", async (t) => {
  const { cache, ...node } = await startNode(t);
  const wrong = Buffer.from(bytes);
  wrong[2_000_000] = (wrong[2_000_000] ?? 0) ^ 1;
  cache.upstream.transfers.push({ bytes: wrong });
  const answer = await node.ask("GET", node.path);
  t.equal(answer.complete, false);
  t.ok(answer.body.length <= bytes.length - 64 * 1024);
  await eventually("it has its event", () => node.events.worker.length === 1);
  t.match(node.events.worker[0], { result: "error", abortedBy: "upstream", detail: "digest_mismatch" });
});

t.test("when the primary dies the answer ends short", async (t) => {
  const node = await startNode(t);
  const never = gate();
  node.cache.upstream.transfers.push({ hold: { at: mebibyte, until: never.opened } });
  const { got, over } = await begun(t, node);
  node.end();
  await over;
  t.ok(Buffer.concat(got).length < bytes.length);
  await eventually("it has its event", () => node.events.worker.length === 1);
  t.match(node.events.worker[0], { result: "error", abortedBy: "node", detail: "unavailable" });
  never.open();
});

t.test("a blob that has come and is only being committed is read as every stored one", async (t) => {
  const never = gate();
  const reading = gate();
  const { cache, ...node } = await startNode(t, {
    openSpool: async (...asked) => {
      const spool = await openSpooled(...asked);
      return spool && slow(spool, reading.opened);
    },
  });
  cache.store.faults.set("commit", () => never.opened);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const first = node.ask("GET", node.path);
  await eventually("it is being committed", () => cache.store.count("commit") === 1);
  const second = node.ask("GET", node.path);
  await eventually("it is being read", () => node.readers.has(digest));
  reading.open();
  for (const answer of await Promise.all([first, second]))
    t.match(answer, { status: 200, body: bytes, complete: true });
  t.equal(cache.blobs.fills.length, 1, "it is not committed yet");
  await eventually("nobody follows it", () => cache.blobs.fills[0]?.followers === 0);
  never.open();
  await eventually("the fill is over", () => cache.blobs.fills.length === 0);
  await nothingLeft(t, cache);
});

/** The reader, which reads nothing before that resolves. */
function slow(blob: DiskReader, until: Promise<void>): StoredBlob {
  return {
    size: blob.size,
    read: async (position, scratch) => {
      await until;
      return blob.read(position, scratch);
    },
    close: () => blob.close(),
  };
}

t.test("a client that leaves is no follower any more", async (t) => {
  const node = await startNode(t);
  const later = gate();
  node.cache.upstream.transfers.push({ hold: { at: 2 * mebibyte, until: later.opened } });
  const { leave } = await begun(t, node);
  leave();
  await eventually("it has its event", () => node.events.worker.length === 1);
  t.match(node.events.worker[0], { result: "aborted", abortedBy: "client" });
  later.open();
  await eventually("the fill is over", () => node.cache.blobs.fills.length === 0);
  await nothingLeft(t, node.cache);
});
