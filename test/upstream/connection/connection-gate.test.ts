import t from "tap";
import type { Yielding } from "../../../src/ports/upstream.ts";
import { ConnectionGate, type Use } from "../../../src/upstream/connection/connection-gate.ts";
import { upstreamError } from "../../fixtures/connected-upstream.ts";

/** Asks to enter and keeps what came of it. */
function enter(gate: ConnectionGate, use: Use, signal?: AbortSignal) {
  const entry: { leave?: () => void; in: Promise<void> } = { in: Promise.resolve() };
  entry.in = gate.enter(use, signal).then((leave) => {
    entry.leave = leave;
  });
  return entry;
}

const turn = () => new Promise(setImmediate);

t.test("transfers leave an eighth for small requests", async (t) => {
  for (const [connections, transfers] of [
    [1, 1],
    [2, 1],
    [4, 3],
    [64, 56],
  ] as const) {
    const gate = new ConnectionGate("main", connections, 1000);
    const asked = Array.from({ length: connections + 5 }, () => enter(gate, "transfer"));
    await turn();
    t.equal(gate.held, transfers, `${connections}`);
    const small = Array.from({ length: connections + 5 }, () => enter(gate, "small"));
    await turn();
    t.equal(gate.held, connections);
    for (const { leave } of [...asked, ...small]) leave?.();
    await turn();
    t.ok(gate.held > 0, "those that waited come next");
    while (gate.held > 0) {
      for (const { leave } of [...asked, ...small]) leave?.();
      await turn();
    }
    await Promise.all([...asked, ...small].map((entry) => entry.in));
  }
});

t.test("the background gets a quarter, one at least, and counts among the transfers", async (t) => {
  for (const [connections, background, transfers] of [
    [1, 1, 1],
    [2, 1, 1],
    [4, 1, 3],
    [64, 16, 56],
  ] as const) {
    const gate = new ConnectionGate("main", connections, 1000);
    t.ok(gate.free("background"));
    const last = Array.from({ length: connections + 5 }, () => enter(gate, "background"));
    await turn();
    t.notOk(gate.free("background"));
    t.equal(gate.held, background, `${connections}`);
    const asked = Array.from({ length: connections }, () => enter(gate, "transfer"));
    await turn();
    t.equal(gate.held, transfers, "what is left of the transfers'");
    const small = Array.from({ length: connections - transfers }, () => enter(gate, "small"));
    await turn();
    t.equal(gate.held, connections, "small requests have theirs");
    const all = [...last, ...asked, ...small];
    while (gate.held > 0) {
      for (const { leave } of all) leave?.();
      await turn();
    }
    await Promise.all(all.map((entry) => entry.in));
  }
});

t.test("while transfers wait, a connection that the background leaves is theirs", async (t) => {
  const gate = new ConnectionGate("main", 8, 1000);
  const last = Array.from({ length: 4 }, () => enter(gate, "background"));
  const asked = Array.from({ length: 7 }, () => enter(gate, "transfer"));
  await turn();
  const inside = (entries: readonly { leave?: () => void }[]) => entries.filter(({ leave }) => leave).length;
  t.same([inside(last), inside(asked)], [2, 5]);
  for (const { leave } of last) leave?.();
  await turn();
  t.same([inside(last), inside(asked)], [2, 7], "those of the background go on waiting");
  asked[0]?.leave?.();
  await turn();
  t.equal(inside(last), 3, "until no transfer waits");
  for (const entries of [last, asked]) for (const { leave } of entries) leave?.();
  await turn();
  for (const { leave } of last) leave?.();
  await Promise.all([...last, ...asked].map((entry) => entry.in));
  t.equal(gate.held, 0);
});

t.test("small requests go first, then transfers, then the background, each in order", async (t) => {
  const gate = new ConnectionGate("main", 1, 1000);
  const first = enter(gate, "transfer");
  await first.in;
  const order: string[] = [];
  const waiting = [
    ["background", "z"],
    ["transfer", "a"],
    ["transfer", "b"],
    ["small", "c"],
  ] as const;
  const done = waiting.map(async ([use, name]) => {
    const leave = await gate.enter(use, undefined);
    order.push(name);
    leave();
    leave();
  });
  first.leave?.();
  first.leave?.();
  await Promise.all(done);
  t.same(order, ["c", "a", "b", "z"]);
  t.equal(gate.held, 0, "leaving twice counts once");
});

t.test("waiting has an end", async (t) => {
  const gate = new ConnectionGate("main", 1, 20);
  const holder = enter(gate, "small");
  await holder.in;
  t.match(await upstreamError(gate.enter("small", undefined)), { code: "timeout", message: /upstream main/ });
  const reason = new Error("gone");
  const control = new AbortController();
  const aborted = gate.enter("transfer", control.signal);
  control.abort(reason);
  await t.rejects(aborted, reason);
  await t.rejects(gate.enter("small", control.signal), reason);
  holder.leave?.();
  t.equal(gate.held, 0, "a request that gave up takes no connection");
});

t.test("the queue has an end", async (t) => {
  const gate = new ConnectionGate("main", 1, 50);
  const holder = enter(gate, "small");
  await holder.in;
  const waiting = Array.from({ length: 1024 }, () => upstreamError(gate.enter("small", undefined)));
  t.match(await upstreamError(gate.enter("small", undefined)), { code: "timeout", message: /too many/ });
  t.equal((await Promise.all(waiting)).length, 1024);
});

class Transfer implements Yielding {
  gaveWay = 0;
  readonly #listeners = new Set<() => void>();
  #unattended = false;

  get unattended(): boolean {
    return this.#unattended;
  }

  set unattended(unattended: boolean) {
    this.#unattended = unattended;
    for (const listener of [...this.#listeners]) listener();
  }

  giveWay(): void {
    this.gaveWay++;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}

t.test("an unattended transfer keeps its connection until another request waits for one", async (t) => {
  const gate = new ConnectionGate("main", 8, 5_000);
  const transfers = Array.from({ length: 7 }, () => new Transfer());
  const leaves = await Promise.all(transfers.map((yields) => gate.enter("transfer", undefined, yields)));
  const [first, second, third] = transfers as [Transfer, Transfer, Transfer];
  for (const transfer of [second, third]) transfer.unattended = true;
  t.same(
    transfers.map(({ gaveWay }) => gaveWay),
    [0, 0, 0, 0, 0, 0, 0],
    "it keeps its place",
  );
  const background = enter(gate, "background");
  await turn();
  t.equal(second.gaveWay, 0, "no transfer gives way to the background");
  const client = enter(gate, "transfer");
  await turn();
  t.same([first.gaveWay, second.gaveWay, third.gaveWay], [0, 1, 0], "one for each request that waits");
  leaves[1]?.();
  await client.in;
  const another = enter(gate, "transfer");
  leaves[2]?.();
  await another.in;
  t.equal(second.gaveWay, 1, "asked once");
  t.equal(third.gaveWay, 1);
  const last = enter(gate, "transfer");
  await turn();
  t.equal(first.gaveWay, 0, "those that clients wait for stay");
  first.unattended = true;
  t.equal(first.gaveWay, 1, "and give way as soon as their clients have gone");
  leaves[0]?.();
  await last.in;
  for (const leave of leaves) leave();
  await background.in;
  t.ok(
    transfers.every(({ listeners }) => listeners === 0),
    "no listener is left",
  );
});

t.test(
  "a transfer that becomes unattended while it waits waits as background, until a client comes",
  async (t) => {
    const gate = new ConnectionGate("main", 1, 5_000);
    const leave = await gate.enter("transfer", undefined);
    const left = new Transfer();
    const order: string[] = [];
    const enterAs = async (name: string, yields?: Transfer) => {
      const over = await gate.enter("transfer", undefined, yields);
      order.push(name);
      over();
    };
    const entering = [enterAs("left", left), enterAs("again", new Transfer()), enterAs("client")];
    left.unattended = true;
    leave();
    await Promise.all(entering);
    t.same(order, ["again", "client", "left"]);
    t.equal(left.listeners, 0);
  },
);
