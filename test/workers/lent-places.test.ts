// The open answers of a client in all workers together.
import t from "tap";
import { LentPlaces, placesOf } from "../../src/workers/lent-places.ts";

function lent(limit: number, workers: number) {
  const given: string[] = [];
  const places = new LentPlaces<string>(limit, workers, (worker, network, count) => {
    given.push(`${worker} ${network} ${count}`);
  });
  return { places, given: () => given.splice(0) };
}

t.test("no limit is exceeded, whatever it is", async (t) => {
  for (const workers of [2, 3, 4, 8])
    for (const limit of [1, 2, 3, 5, 8, 16, 17, 4000]) {
      const { own, lendable } = placesOf(limit, workers);
      t.equal(own * workers + lendable, limit, `${limit} in ${workers}`);
      t.ok(lendable >= 0);
      t.ok(limit < workers || own >= 1, "who has one of its own waits for nobody");
    }
});

t.test("a worker is lent what it asks for, until nothing is left; what comes back goes on", async (t) => {
  const { places, given } = lent(16, 2);
  for (const _ of [1, 2, 3]) places.ask("a", "client");
  places.ask("b", "client");
  t.same(given(), ["a client 4", "a client 4"], "half of sixteen, in two parts");
  places.ask("a", "another");
  t.same(given(), ["a another 4"], "each client has its own");
  places.giveBack("a", "client", 3);
  t.same(given(), ["a client 3"], "the first that asked");
  places.giveBack("a", "client", 5);
  t.same(given(), ["b client 4"]);
});

t.test("what a worker that has ended had is free again, and it is given nothing", async (t) => {
  const { places, given } = lent(8, 2);
  places.ask("a", "client");
  places.ask("a", "client");
  places.ask("b", "client");
  t.same(given(), ["a client 2", "a client 2"]);
  places.gone("a");
  t.same(given(), ["b client 2"]);
  places.ask("b", "client");
  places.gone("b");
  t.same(given(), ["b client 2"]);
});

t.test(
  "a larger limit counts at once; of a smaller one what is lent stays until it comes back",
  async (t) => {
    const { places, given } = lent(4, 2);
    for (const worker of ["a", "b", "c"]) places.ask(worker, "client");
    t.same(given(), ["a client 1", "b client 1"]);
    places.bound(8, 2);
    t.same(given(), ["c client 2"]);
    places.bound(2, 2);
    places.ask("a", "client");
    places.giveBack("c", "client", 2);
    t.same(given(), [], "still more than there are");
  },
);
