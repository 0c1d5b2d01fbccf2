// Bounds that change while places are held and waited for.
import t from "tap";
import type { Client } from "../../src/http/client-address.ts";
import { FairQueue, OverLimit } from "../../src/http/fair-queue.ts";

const client = (network: string, exempt = false): Client => ({
  address: network,
  network,
  key: network,
  exempt,
});
const [a, b] = [client("a"), client("b")];
const queueOf = (bounds: { perClient: number; total?: number; waiting: number }) =>
  new FairQueue({ ...bounds, timeout: 1000, after: () => () => {} });

t.test("more places: those who wait get them at once, in turn", async (t) => {
  const queue = queueOf({ perClient: 1, total: 2, waiting: 10 });
  const places = [a, a, a, b, b].map((each) => queue.enter(each));
  t.same(
    places.map(({ held }) => held),
    [true, false, false, true, false],
  );
  queue.bound({ perClient: 2, total: 4, waiting: 10 });
  t.same(
    places.map(({ held }) => held),
    [true, true, false, true, true],
  );
});

t.test("fewer places: those that are held stay, and none is given until there are fewer", async (t) => {
  const queue = queueOf({ perClient: 3, waiting: 10 });
  const held = [1, 2, 3].map(() => queue.enter(a));
  queue.bound({ perClient: 1, waiting: 10 });
  const next = queue.enter(a);
  for (const place of held) {
    t.equal(place.held, true);
    t.equal(next.held, false);
    place.release();
  }
  t.equal(next.held, true);
});

t.test("fewer may wait: those who do go on waiting", async (t) => {
  const queue = queueOf({ perClient: 1, waiting: 2 });
  const [first, ...waiting] = [1, 2, 3].map(() => queue.enter(a));
  queue.bound({ perClient: 1, waiting: 0 });
  t.throws(() => queue.enter(a), new OverLimit("too_many"));
  first?.release();
  t.equal(waiting[0]?.held, true);
});

t.test("a client that has become exempt, or is no more, is judged anew with its next request", async (t) => {
  const queue = queueOf({ perClient: 1, waiting: 0 });
  queue.enter(a);
  queue.bound({ perClient: 1, waiting: 0 });
  const exempt = client("a", true);
  t.equal(queue.enter(exempt).held, true);
  t.equal(queue.enter(exempt).held, true);
  queue.bound({ perClient: 1, waiting: 0 });
  t.throws(() => queue.enter(a), OverLimit);
});
