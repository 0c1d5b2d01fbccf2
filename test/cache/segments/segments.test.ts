// The rest of a blob in several transfers, each of which sends what the test says and when: order, bounds, and every
// way a transfer can fail.
import t from "tap";
import { BlobConcurrency } from "../../../src/cache/segments/concurrency.ts";
import { SegmentBudget } from "../../../src/cache/segments/segment-queue.ts";
import { inSegments, type SegmentsOptions } from "../../../src/cache/segments/segments.ts";
import { type BlobAsk, UpstreamError } from "../../../src/ports/upstream.ts";
import type { BlobAnswer } from "../../../src/ports/upstream-answer.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, ManualPause, quiet } from "../../fixtures/manual-time.ts";
import { nothingAhead } from "../../fixtures/nothing-ahead.ts";

const kibibyte = 1024;
const blob = randomBytesFor("layer", 8 * 1024 * kibibyte);

/** One transfer: the test sends its bytes, in as many pieces as it likes. */
class Sending {
  readonly name: string;
  /** Next byte to be sent. */
  at: number;
  readonly to: number;
  closed = false;
  readonly #chunks: (Buffer | Error | "end")[] = [];
  #wake = (): void => {};

  constructor(name: string, from: number, to: number, signal?: AbortSignal) {
    this.name = name;
    this.at = from;
    this.to = to;
    signal?.addEventListener("abort", () => this.#push(signal.reason));
  }

  /** Sends so many bytes; all there are, and the end, when left out. */
  send(bytes = this.to - this.at): void {
    this.#push(blob.subarray(this.at, this.at + bytes));
    this.at += bytes;
    if (this.at === this.to) this.#push("end");
  }

  fail(error: Error = new UpstreamError("truncated", "cut by the test")): void {
    this.#push(error);
  }

  end(): void {
    this.#push("end");
  }

  #push(what: Buffer | Error | "end"): void {
    this.#chunks.push(what);
    this.#wake();
  }

  body(): AsyncIterableIterator<Buffer> {
    const next = async (): Promise<IteratorResult<Buffer>> => {
      while (this.#chunks.length === 0 && !this.closed)
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      const chunk = this.#chunks.shift() ?? "end";
      if (Buffer.isBuffer(chunk)) return { done: false, value: chunk };
      this.closed = true;
      if (chunk instanceof Error) throw chunk;
      return { done: true, value: undefined };
    };
    const leave = async (): Promise<IteratorResult<Buffer>> => {
      this.closed = true;
      this.#wake();
      return { done: true, value: undefined };
    };
    const body = { next, return: leave, [Symbol.asyncIterator]: () => body };
    return body;
  }
}

interface Setting {
  readonly concurrency?: number;
  readonly from?: number;
  /** Where the transfer under way ends; at the end of the blob when left out. */
  readonly end?: number;
  readonly memory?: number;
  /** What comes by other ways; left out: nothing. */
  readonly others?: Partial<SegmentsOptions["ahead"]>;
  readonly answer?: (sending: Sending) => Partial<BlobAnswer & { kind: "found" }> | Error;
}

function setUp(setting: Setting = {}) {
  const { concurrency = 4, from = 0, end = blob.length, memory = 1e9, others, answer } = setting;
  const sendings: Sending[] = [];
  const upstream = { name: "far", spare: true };
  const learned: number[] = [];
  const time = new ManualPause();
  const over = new AbortController();
  const open = async (at: number, signal: AbortSignal, { to, use }: BlobAsk): Promise<BlobAnswer> => {
    const sending = new Sending(`${at}-${to} ${use ?? "transfer"}`, at, to ?? blob.length, signal);
    sendings.push(sending);
    const said = answer?.(sending) ?? {};
    if (said instanceof Error) throw said;
    return { kind: "found", size: blob.length, offset: at, end: sending.to, body: sending.body(), ...said };
  };
  const budget = new SegmentBudget(memory);
  const transfers = new BlobConcurrency(
    { max: concurrency, clock: () => 0, load: () => 0, learn: (known) => learned.push(known.transfers) },
    { transfers: concurrency, settled: true },
  );
  const options: SegmentsOptions = {
    open,
    upstream,
    size: blob.length,
    ahead: { ...nothingAhead, ...others },
    concurrency: transfers,
    budget,
    pause: time.pause,
    signal: over.signal,
  };
  const first = new Sending("first", from, end);
  const parts: Buffer[] = [];
  let failure: unknown;
  const body = inSegments(options, from, first.body(), end);
  const read = async (): Promise<Buffer> => {
    try {
      for await (const chunk of body) parts.push(chunk);
    } catch (error) {
      failure = error;
    }
    return Buffer.concat(parts);
  };
  /** Sends everything that is asked for from now on. */
  const sendAll = async (reading: Promise<unknown>): Promise<void> => {
    let done = false;
    void reading.finally(() => {
      done = true;
    });
    await eventually("everything is sent", () => {
      for (const sending of [...sendings, first])
        if (!sending.closed && sending.at < sending.to) sending.send();
      return done;
    });
  };
  return {
    first,
    sendings,
    upstream,
    concurrency: transfers,
    learned,
    time,
    over,
    budget,
    body,
    read,
    sendAll,
    get received() {
      return parts.reduce((bytes, part) => bytes + part.length, 0);
    },
    get failure() {
      return failure;
    },
  };
}

/** All of the memory is free again. */
function nothingHeld(t: Tap, budget: SegmentBudget, memory = 1e9): void {
  t.ok(budget.acquire(memory), "no memory is held");
}
type Tap = { ok(value: unknown, name: string): boolean };

/** What is left to a transfer under way when others begin: 128 KiB it has been asked for, and 1 MiB sent ahead. */
const ahead = 1152 * kibibyte;
/** A first part. */
const share = 512 * kibibyte;

t.test("segments end where others bring what follows, also when that begins later", async (t) => {
  const where = 4 * 1024 * kibibyte;
  for (const early of [true, false])
    await t.test(early ? "from the start" : "later", async (t) => {
      let limit = early ? where : Number.POSITIVE_INFINITY;
      let asked = 0;
      const others = {
        limit: () => limit,
        asked: (to: number) => {
          asked = to;
        },
      };
      const far = setUp({ others });
      const reading = far.read();
      await eventually("helpers are asked for", () => far.sendings.length === 3);
      t.ok(asked < where, "what is asked for is known");
      limit = where;
      await far.sendAll(reading);
      t.ok((await reading).equals(blob.subarray(0, where)));
      t.equal(far.failure, undefined);
      t.equal(asked, where);
      t.ok(
        far.sendings.every(({ to }) => to <= where),
        "nothing behind it was asked for",
      );
      t.equal(far.first.closed, true);
      nothingHeld(t, far.budget);
    });
});

t.test(
  "segments that have ended where others bring what follows do not go on when these are gone",
  async (t) => {
    const where = 4 * 1024 * kibibyte;
    let limit = where;
    const far = setUp({ others: { limit: () => limit } });
    let received = 0;
    const read = async (): Promise<void> => {
      for await (const chunk of far.body) {
        received += chunk.length;
        // Nothing is left to be fetched, so no worker is there any more.
        if (received === where) {
          await quiet();
          limit = Number.POSITIVE_INFINITY;
        }
      }
    };
    const reading = read();
    await far.sendAll(reading);
    await reading;
    t.equal(received, where);
    nothingHeld(t, far.budget);
  },
);

t.test("segments that come in another order are handed on in theirs", async (t) => {
  const far = setUp();
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  t.same(
    far.sendings.map(({ name }) => name),
    [`${ahead}-1630208 background`, "1630208-2052608 background", "2052608-2448608 background"],
    "what comes after the first, in shares of what is left",
  );
  for (const sending of far.sendings.toReversed()) sending.send();
  await eventually("each helper goes on", () => far.sendings.length === 6);
  t.equal(far.received, 0, "nothing before the first byte");
  far.first.send(ahead);
  await eventually("they are handed on", () => far.received === 2448608);
  t.ok(far.first.closed, "the first transfer is cut where others have begun");
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
  t.equal(far.failure, undefined);
  nothingHeld(t, far.budget);
  t.equal(
    far.sendings.filter(({ name }) => name.endsWith("transfer")).length > 0,
    true,
    "the main worker asks as clients do",
  );
});

t.test("a first part is no transfer to be cut", async (t) => {
  const far = setUp({ from: 100, end: 100 + share });
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  t.match(far.sendings[0]?.name, new RegExp(`^${100 + share}-`));
  await far.sendAll(reading);
  t.ok((await reading).equals(blob.subarray(100)));
  t.equal(far.first.at, far.first.to, "it came to its end");
});

t.test("what a transfer has been sent ahead others fetch last, and from its end", async (t) => {
  const far = setUp();
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  for (let sent = 0; !far.sendings.some(({ at, to }) => at < ahead && at === to); sent++) {
    t.ok(sent < 50);
    await quiet();
    for (const sending of far.sendings) if (sending.at < sending.to) sending.send();
  }
  const names = far.sendings.map(({ name }) => name);
  const [first] = names.filter((name) => Number.parseInt(name, 10) < ahead);
  t.equal(first, `${ahead - 128 * kibibyte}-${ahead} background`);
  t.ok(names.slice(0, names.indexOf(first ?? "")).some((name) => name.includes(`-${blob.length} `)));
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
  nothingHeld(t, far.budget);
});

t.test("what was reserved for a transfer that breaks is next", async (t) => {
  const far = setUp({ from: 0, end: share });
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  far.first.send(1000);
  far.first.fail();
  await quiet();
  for (const sending of far.sendings.slice(0, 3)) sending.send();
  await eventually("others go on", () => far.sendings.length > 5);
  t.same(
    far.sendings.slice(3, 6).map(({ name }) => Number.parseInt(name, 10)),
    [1000, 128 * kibibyte, 256 * kibibyte],
  );
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
  nothingHeld(t, far.budget);
});

t.test("alone, a transfer is never cut", async (t) => {
  const far = setUp();
  far.upstream.spare = false;
  const reading = far.read();
  far.first.send();
  t.ok((await reading).equals(blob));
  t.same(far.sendings, [], "no connection was to spare for helpers");
});

t.test("helpers that come to nothing cost nothing", async (t) => {
  const far = setUp({ answer: () => new UpstreamError("server_error", "no helpers here") });
  const reading = far.read();
  for (let sent = 0; sent < 4 * 1024; sent += 64) {
    far.first.send(64 * kibibyte);
    await quiet(5);
  }
  far.first.send();
  t.ok((await reading).equals(blob), "the first transfer brings everything");
  t.ok(
    far.sendings.length >= 8 && far.sendings.length <= 10,
    `${far.sendings.length} were tried, not for ever`,
  );
  t.equal(far.failure, undefined);
  nothingHeld(t, far.budget);
});

t.test("an upstream that ignores ranges sends the blob once", async (t) => {
  const far = setUp({ answer: () => ({ offset: 0 }) });
  const reading = far.read();
  await eventually("it has said so", () => far.learned.includes(1));
  far.first.send();
  t.ok((await reading).equals(blob));
  t.ok(far.sendings.length <= 3, "others are not asked for");
  await eventually("what it sent is not read", () => far.sendings.every(({ closed }) => closed));
});

t.test("helpers that are too many leave when their segments have come", async (t) => {
  const far = setUp();
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  far.concurrency.refuse();
  for (const sending of far.sendings) sending.send();
  await quiet();
  t.equal(far.sendings.length, 3);
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
  t.same(
    far.sendings.slice(3).map(({ name }) => name),
    [`2448608-${blob.length} transfer`],
    "the main worker brings the rest",
  );
});

t.test("a segment that breaks goes on from the byte it reached", async (t) => {
  const far = setUp();
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  const broken = far.sendings[0] as Sending;
  broken.send(70_000);
  broken.fail();
  await quiet();
  far.first.send(1000);
  await eventually("another goes on", () => far.sendings.length > 3);
  t.equal(far.sendings[3]?.name, `${ahead + 70_000}-1630208 background`);
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
});

t.test("a body that ends early is a broken one", async (t) => {
  const far = setUp();
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  far.sendings[0]?.send(1000);
  far.sendings[0]?.end();
  await quiet();
  far.first.send(1000);
  await eventually("another goes on", () => far.sendings.length > 3);
  t.equal(far.sendings[3]?.name, `${ahead + 1000}-1630208 background`);
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
});

t.test("when the main transfer breaks it asks again, until its retry budget is spent", async (t) => {
  const far = setUp({ concurrency: 2 });
  const reading = far.read();
  far.first.send(1000);
  await quiet();
  far.upstream.spare = false;
  far.first.fail();
  await eventually("it asks again", () => far.sendings.some(({ name }) => name.startsWith("1000-")));
  t.same(far.time.asked, [100]);
  for (let attempt = 0; attempt < 4; attempt++) {
    await eventually("it is asked", () =>
      far.sendings.some(({ closed, name }) => !closed && /transfer/.test(name)),
    );
    for (const sending of far.sendings) if (!sending.closed) sending.fail();
    await quiet();
  }
  await reading;
  t.match(far.failure, { name: "UpstreamError", code: "truncated" });
  t.equal(far.received, 1000, "what came in order was handed on");
  nothingHeld(t, far.budget);
});

t.test("bytes that wait for those before them are bounded", async (t) => {
  const memory = 800 * kibibyte;
  const far = setUp({ concurrency: 8, memory });
  const reading = far.read();
  await quiet();
  const asked = far.sendings.reduce((bytes, { at, to }) => bytes + to - at, 0);
  t.ok(asked > 0 && asked <= memory, `${asked} bytes were asked for ahead`);
  await far.sendAll(reading);
  t.ok((await reading).equals(blob));
  nothingHeld(t, far.budget, memory);
});

t.test("a main worker without memory holds little when nobody reads", async (t) => {
  const far = setUp({ memory: 0 });
  const first = far.body.next();
  for (let sent = 0; sent < 2 * 1024 * kibibyte; sent += 64 * kibibyte) far.first.send(64 * kibibyte);
  t.equal((await first).value?.length, 64 * kibibyte);
  await quiet();
  const held: Buffer[] = [];
  far.over.abort(new Error("the test is over"));
  far.first.fail(new Error("the test is over"));
  await t.rejects(async () => {
    for await (const chunk of far.body) held.push(chunk);
  }, /the test is over/);
  const bytes = Buffer.concat(held).length;
  t.ok(bytes <= 448 * kibibyte, `${bytes} bytes were taken ahead of the reader`);
  t.same(far.sendings, []);
});

t.test("a size that changes is not believed", async (t) => {
  const far = setUp({ answer: ({ name }) => (name.startsWith(`${ahead}-`) ? { size: 7 } : {}) });
  const reading = far.read();
  await eventually("helpers are asked for", () => far.sendings.length >= 3);
  far.first.send(ahead);
  await far.sendAll(reading);
  t.ok((await reading).equals(blob), "the others bring what it would have brought");
});

t.test("leaving ends every transfer", async (t) => {
  const far = setUp();
  const first = far.body.next();
  await eventually("helpers are asked for", () => far.sendings.length === 3);
  far.first.send(1000);
  await first;
  await far.body.return(undefined);
  await eventually("all are closed", () => far.sendings.every(({ closed }) => closed));
  t.ok(far.first.closed, "the first, too");
  nothingHeld(t, far.budget);
});
