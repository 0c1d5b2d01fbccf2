// A link of so many bytes a millisecond, which gives each transfer that reads the same, as TCP does. A transfer that is held
// goes on filling its window, 64 KiB, and then sends nothing until its reader goes on.
import t, { type Test } from "tap";
import { type BandwidthUse, FairBandwidth } from "../../../src/cache/bandwidth/fair-bandwidth.ts";
import type { Pacer } from "../../../src/ports/upstream.ts";
import { ManualClock, quiet } from "../../fixtures/manual-time.ts";

const step = 5;
const windowBytes = 64 * 1024;
/** Bytes a millisecond of the link: 100 Mbit/s. */
const capacity = 12_500;

interface Simulated {
  readonly pacer: Pacer;
  /** Most bytes a millisecond that its sender sends. */
  most: number;
  /** In the window, not yet read. */
  buffered: number;
  waits: boolean;
  crossed: number;
}

class Link {
  readonly clock = new ManualClock();
  readonly bandwidth: FairBandwidth;
  capacity = capacity;
  crossed = 0;
  readonly #transfers = new Set<Simulated>();
  #ticks: { readonly every: number; readonly call: () => void; next: number } | undefined;

  constructor() {
    this.bandwidth = new FairBandwidth(this.clock.read, (every, call) => {
      const ticks = { every, call, next: this.clock.now + every };
      this.#ticks = ticks;
      return () => {
        if (this.#ticks === ticks) this.#ticks = undefined;
      };
    });
  }

  get ticking(): boolean {
    return this.#ticks !== undefined;
  }

  /** So many transfers, each of a fill that is followed by these callers. */
  start(keys: readonly string[], transfers: number, most = Number.POSITIVE_INFINITY): Simulated[] {
    return Array.from({ length: transfers }, () => this.add(this.fill(keys), most));
  }

  fill(keys: readonly string[], exempt = false): BandwidthUse {
    const use = this.bandwidth.use();
    for (const key of keys) use.join({ key, exempt });
    return use;
  }

  add(use: BandwidthUse, most = Number.POSITIVE_INFINITY): Simulated {
    const transfer = { pacer: use.transfer(), most, buffered: 0, waits: false, crossed: 0 };
    this.#transfers.add(transfer);
    return transfer;
  }

  drop(transfers: readonly Simulated[]): void {
    for (const each of transfers) {
      each.pacer.over();
      this.#transfers.delete(each);
    }
  }

  /** Each transfer that has room gets the same part of the link, but no more than its sender sends. */
  #carry(): void {
    const open = [...this.#transfers].filter(({ buffered }) => buffered < windowBytes);
    open.sort((a, b) => a.most - b.most);
    let left = this.capacity * step;
    for (const [index, transfer] of open.entries()) {
      const bytes = Math.min(left / (open.length - index), transfer.most * step);
      left -= bytes;
      transfer.buffered += bytes;
      transfer.crossed += bytes;
      this.crossed += bytes;
    }
    for (const transfer of this.#transfers) this.#read(transfer);
  }

  #read(transfer: Simulated): void {
    if (transfer.waits || transfer.buffered === 0) return;
    const bytes = transfer.buffered;
    transfer.buffered = 0;
    const turn = transfer.pacer.came(bytes);
    if (turn === undefined) return;
    transfer.waits = true;
    void turn.then(() => {
      transfer.waits = false;
    });
  }

  async run(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += step) {
      this.clock.advance(step);
      this.#carry();
      const ticks = this.#ticks;
      if (ticks !== undefined && this.clock.now >= ticks.next) {
        ticks.next += ticks.every;
        ticks.call();
        await quiet(1);
      }
    }
  }
}

function crossed(transfers: readonly Simulated[]): number {
  return transfers.reduce((sum, each) => sum + each.crossed, 0);
}

/** The part of what has crossed since that these have had, once `milliseconds` have passed. */
async function partOf(link: Link, transfers: readonly Simulated[], milliseconds: number): Promise<number> {
  const [before, all] = [crossed(transfers), link.crossed];
  await link.run(milliseconds);
  return (crossed(transfers) - before) / (link.crossed - all);
}

function isNear(t: Test, actual: number, wanted: number, by: number, what: string): void {
  t.ok(Math.abs(actual - wanted) <= by, `${what}: ${actual.toFixed(3)}, wanted ${wanted}`);
}

t.test(
  "one transfer gets as much as 64 of another caller, from the first megabytes on, and the link stays full",
  async (t) => {
    const link = new Link();
    link.start(["farm"], 64);
    await link.run(5_000);
    const light = link.start(["production"], 1);
    const part = await partOf(link, light, 10_000);
    t.ok(part > 0.4 && part < 0.6, `${part}`);
    isNear(t, await partOf(link, light, 10_000), 0.5, 0.05, "later");
    isNear(t, link.crossed / (capacity * 25_000), 1, 0.01, "of the link");
  },
);

t.test("nobody is held while one caller is alone, and nothing ticks", async (t) => {
  const link = new Link();
  link.start(["farm"], 64);
  await link.run(5_000);
  t.equal(link.bandwidth.held, 0);
  t.equal(link.ticking, false);
  t.equal(link.crossed, capacity * 5_000);
});

t.test("three callers have a third each", async (t) => {
  const link = new Link();
  const callers = [link.start(["a"], 40), link.start(["b"], 8), link.start(["c"], 1)];
  await link.run(5_000);
  const before = callers.map(crossed);
  const all = link.crossed;
  await link.run(10_000);
  for (const [index, transfers] of callers.entries())
    isNear(
      t,
      (crossed(transfers) - (before[index] ?? 0)) / (link.crossed - all),
      1 / 3,
      0.05,
      `caller ${index}`,
    );
  isNear(t, (link.crossed - all) / (capacity * 10_000), 1, 0.01, "of the link");
});

t.test("what a caller cannot use goes to the others, and it keeps what it can use", async (t) => {
  const link = new Link();
  link.start(["farm"], 64);
  const light = link.start(["production"], 1, capacity / 5);
  await link.run(5_000);
  const all = link.crossed;
  isNear(t, await partOf(link, light, 60_000), 0.2, 0.05, "its part");
  isNear(t, (link.crossed - all) / (capacity * 60_000), 1, 0.1, "of the link");
});

t.test("where the link is not what is short, holding brings nothing, and hardly happens", async (t) => {
  const link = new Link();
  const each = 500;
  link.capacity = 10 * capacity;
  link.start(["farm"], 64, each);
  link.start(["production"], 1, each);
  await link.run(120_000);
  isNear(t, link.crossed / (65 * each * 120_000), 1, 0.03, "of what upstream sends");
});

t.test("when a caller leaves, the other soon has everything; when it comes back, its share", async (t) => {
  const link = new Link();
  const farm = link.start(["farm"], 64);
  let light = link.start(["production"], 1);
  await link.run(5_000);
  link.drop(light);
  await link.run(550);
  t.equal(link.bandwidth.held, 0);
  isNear(t, await partOf(link, farm, 1_000), 1, 1e-6, "the part of the other");
  light = link.start(["production"], 1);
  await link.run(1_500);
  isNear(t, await partOf(link, light, 3_000), 0.5, 0.1, "soon");
  link.drop(light);
  await link.run(3_000);
  t.equal(link.ticking, false);
});

t.test("a pull of one blob after the other has its share, too", async (t) => {
  const link = new Link();
  link.start(["farm"], 64);
  let bytes = 0;
  const blobs: Simulated[] = [];
  for (let blob = 0; blob < 40; blob++) {
    const light = link.start(["production"], 1);
    await link.run(400);
    link.drop(light);
    await link.run(50);
    blobs.push(...light);
  }
  bytes = crossed(blobs);
  isNear(t, bytes / link.crossed, 0.47, 0.07, "its part");
});

t.test(
  "a fill that a light caller follows is not held; its bytes count for both in equal parts",
  async (t) => {
    const link = new Link();
    link.start(["farm"], 63);
    const [both] = [link.start(["farm", "production"], 1)];
    await link.run(5_000);
    // The light one has half of x, the farm the other half and the rest: the same when x is all there is.
    isNear(t, await partOf(link, both, 10_000), 1, 0.12, "its part");
  },
);

t.test("an exempt caller is not held", async (t) => {
  const link = new Link();
  for (let i = 0; i < 64; i++) link.add(link.fill(["farm"], true));
  const light = link.start(["production"], 1);
  await link.run(5_000);
  isNear(t, await partOf(link, light, 5_000), 1 / 65, 0.005, "its part");
  t.equal(link.bandwidth.held, 0);
});

t.test("work without a caller is one caller together", async (t) => {
  const link = new Link();
  link.start([], 16);
  const light = link.start(["production"], 1);
  await link.run(5_000);
  isNear(t, await partOf(link, light, 5_000), 0.5, 0.05, "its part");
});

t.test("a fill counts for those who follow it now, and for who left last", async (t) => {
  const link = new Link();
  const uses = Array.from({ length: 16 }, () => link.fill([]));
  const leave = uses.map((use) => use.join({ key: "farm", exempt: false }));
  for (const use of uses) link.add(use);
  for (const left of leave) left();
  const light = link.start(["farm"], 1);
  await link.run(1_000);
  t.equal(link.ticking, false, "all of it is the farm's");
  for (const use of uses) use.join({ key: "other", exempt: false });
  await link.run(5_000);
  isNear(t, await partOf(link, light, 5_000), 0.5, 0.05, "its part");
});

t.test("what waits goes on at once when its transfer is over", async (t) => {
  const link = new Link();
  const farm = link.start(["farm"], 64);
  link.start(["production"], 1);
  await link.run(3_000);
  t.ok(link.bandwidth.held > 0);
  link.drop(farm);
  await quiet(1);
  t.equal(link.bandwidth.held, 0);
  t.equal(
    farm.some(({ waits }) => waits),
    false,
  );
});

t.test("the link may become slower and faster", async (t) => {
  const link = new Link();
  link.start(["farm"], 64);
  const light = link.start(["production"], 1);
  await link.run(5_000);
  for (const now of [capacity / 4, capacity * 2]) {
    link.capacity = now;
    await link.run(25_000);
    const all = link.crossed;
    isNear(t, await partOf(link, light, 5_000), 0.5, 0.1, `its part of ${now}`);
    isNear(t, (link.crossed - all) / (now * 5_000), 1, 0.01, `of ${now}`);
  }
});

t.test("a fill keeps to the bound of those it is for, while all of them have one", async (t) => {
  const bandwidth = new FairBandwidth(new ManualClock().read, () => () => {});
  const gates: (() => void)[] = [];
  const pace = { came: () => new Promise<void>((resolve) => void gates.push(resolve)) };
  const use = bandwidth.use();
  const job = { key: "job", exempt: false, background: true, pace } as const;
  use.join(job);
  const pacer = use.transfer();
  const first = pacer.came(1000);
  t.type(first, Promise);
  t.ok(use.takeHeld(), "its speed says nothing of upstream");
  t.ok(use.takeHeld(), "it still waits");
  gates[0]?.();
  await first;
  t.ok(use.takeHeld(), "when the bytes are handed out the wait is over, and it counts");
  t.notOk(use.takeHeld());
  const leave = use.join({ key: "client", exempt: false });
  t.equal(pacer.came(1000), undefined, "a client waits for the same bytes");
  leave();
  const second = pacer.came(1000);
  t.type(second, Promise);
  pacer.over();
  await second;
  t.pass("what is over waits no longer");
});
