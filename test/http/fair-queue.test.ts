import t from "tap";
import type { Client } from "../../src/http/client-address.ts";
import { FairQueue, type FairQueueOptions, OverLimit, type Place } from "../../src/http/fair-queue.ts";

const client = (network: string, exempt = false): Client => ({
  address: network,
  network,
  key: network,
  exempt,
});
const [a, b, c] = [client("a"), client("b"), client("c")];

function fairQueue(options: Partial<FairQueueOptions>) {
  const timers = new Set<() => void>();
  const queue = new FairQueue({
    perClient: 2,
    waiting: 100,
    timeout: 1000,
    after: (_milliseconds, call) => {
      timers.add(call);
      return () => timers.delete(call);
    },
    ...options,
  });
  return { queue, timers };
}

const held = (places: readonly Place[]) => places.map((place) => place.held);

t.test("a client has so many places, and then waits; others do not notice", async (t) => {
  const { queue, timers } = fairQueue({});
  const places = [1, 2, 3, 4].map(() => queue.enter(a));
  t.same(held(places), [true, true, false, false]);
  t.same(held([queue.enter(b), queue.enter(b), queue.enter(b)]), [true, true, false]);
  places[0]?.release();
  places[0]?.release();
  t.same(held(places), [false, true, true, false], "in the order they came, and released once");
  t.equal(await places[2]?.granted, "held");
  t.equal(await places[1]?.granted, "held", "of one that never waited");
  t.equal(queue.enter(a).held, false, "nobody goes past those who wait");
  for (const place of places) place.release();
  t.equal(timers.size, 1, "a timer only for who still waits: b's third");
});

t.test("what is free goes to the clients in turn, whoever waits with more", async (t) => {
  const { queue } = fairQueue({ perClient: 3, total: 3 });
  const first = [1, 2, 3].map(() => queue.enter(a));
  const order: string[] = [];
  const waiting = [a, a, a, a, b, b, c].map((who) => {
    const place = queue.enter(who);
    void place.granted.then(() => order.push(who.network));
    return place;
  });
  t.notOk(waiting.some((place) => place.held));
  const running = [...first];
  for (let i = 0; i < waiting.length; i++) {
    const place = running.shift();
    place?.release();
    running.push(...waiting.filter((each) => each.held && !running.includes(each) && each !== place));
    await Promise.resolve();
  }
  t.same(order.slice(0, 3).sort(), ["a", "b", "c"], "one of each before the second of any");
  t.same(order.length, 7);
});

t.test("a client at its own bound leaves what is free to others", async (t) => {
  const { queue } = fairQueue({ perClient: 2, total: 3 });
  const [one] = [queue.enter(a), queue.enter(a)];
  const waits = queue.enter(a);
  t.equal(queue.enter(b).held, true);
  const next = queue.enter(c);
  t.same(held([waits, next]), [false, false]);
  one?.release();
  t.same([waits.held, next.held].filter(Boolean).length, 1);
});

t.test("past the bound of those who wait: too many, and nothing is left behind", async (t) => {
  const { queue } = fairQueue({ perClient: 1, waiting: 1 });
  const [first, second] = [queue.enter(a), queue.enter(a)];
  t.throws(() => queue.enter(a), new OverLimit("too_many"));
  t.equal(queue.enter(b).held, true, "b's bound is its own");
  second?.release();
  t.equal(await second?.granted, "left");
  const third = queue.enter(a);
  first?.release();
  t.equal(third.held, true, "who has left is passed over");
  t.equal(fairQueue({ perClient: 1, waiting: 0 }).queue.enter(a).held, true);
});

t.test("whoever waits too long is told", async (t) => {
  const { queue, timers } = fairQueue({ perClient: 1 });
  const first = queue.enter(a);
  const [second, third] = [queue.enter(a), queue.enter(a)];
  for (const call of [...timers].slice(0, 1)) call();
  t.equal(await second?.granted, "late");
  first.release();
  t.same(held([second, third] as Place[]), [false, true]);
  t.equal(timers.size, 0);
});

t.test("exempt clients have as many as they want, as far as there are any", async (t) => {
  const { queue } = fairQueue({ perClient: 1, total: 3 });
  const free = client("monitoring", true);
  t.same(held([1, 2, 3, 4].map(() => queue.enter(free))), [true, true, true, false]);
});

t.test("of a network with exempt clients and others, the first of them decides", async (t) => {
  const { queue } = fairQueue({ perClient: 1 });
  queue.enter(client("a", true)).release();
  t.same(held([1, 2].map(() => queue.enter(a))), [true, false]);
  queue.enter(b).release();
  t.same(held([1, 2].map(() => queue.enter(client("b", true)))), [true, true]);
});

t.test("with a lender: asked once when all are held, and given back when they are not needed", async (t) => {
  const said: string[] = [];
  const lender = {
    ask: (network: string) => void said.push(`ask ${network}`),
    giveBack: (network: string, places: number) => void said.push(`back ${network} ${places}`),
  };
  const { queue } = fairQueue({ perClient: 1, lender });
  const places = [1, 2, 3, 4].map(() => queue.enter(a));
  t.same(held(places), [true, false, false, false]);
  t.same(said.splice(0), ["ask a"]);
  queue.lend("a", 2);
  t.same(held(places), [true, true, true, false]);
  t.same(said.splice(0), ["ask a"], "one still waits");
  places[3]?.release();
  queue.lend("a", 1);
  t.same(said.splice(0), ["back a 1"], "nobody waits for it any more");
  t.equal(queue.enter(a).held, false, "no more than are lent");
  t.same(said.splice(0), ["ask a"]);
  t.equal(queue.enter(b).held, true, "others have their own");
});

t.test(
  "with a lender: what is lent stays when the bounds change, and goes back with the last that needs it",
  async (t) => {
    const back: string[] = [];
    const lender = {
      ask: () => {},
      giveBack: (network: string, places: number) => void back.push(`${network} ${places}`),
    };
    const { queue } = fairQueue({ perClient: 2, lender });
    const places = [1, 2, 3, 4].map(() => queue.enter(a));
    queue.lend("a", 2);
    queue.bound({ perClient: 1, waiting: 100 });
    t.same(held(places), [true, true, true, true]);
    places[0]?.release();
    places[1]?.release();
    t.same(back, [], "two are held: one of its own, one lent");
    places[2]?.release();
    t.same(back, ["a 2"]);
    t.equal(queue.enter(a).held, false, "one of its own, and that is held");
  },
);

t.test("what is lent to a client that has gone goes back at once", async (t) => {
  const back: string[] = [];
  const lender = {
    ask: () => {},
    giveBack: (network: string, places: number) => void back.push(`${network} ${places}`),
  };
  const { queue } = fairQueue({ lender });
  queue.lend("nobody", 3);
  t.same(back, ["nobody 3"]);
});
