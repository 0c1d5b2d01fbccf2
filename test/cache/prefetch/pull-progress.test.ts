import t from "tap";
import {
  bytesOf,
  maxAhead,
  maxLayers,
  type PullLayer,
  PullProgress,
} from "../../../src/cache/prefetch/pull-progress.ts";
import { CallerCredentials } from "../../../src/ports/caller-credentials.ts";
import { type RemoteRepository, remoteRepository } from "../../../src/ports/upstream.ts";
import { MemoryUpstream, repo, sha256 } from "../../fixtures/memory-upstream.ts";

const digests = Array.from({ length: 6 }, (_, at) => sha256(Buffer.from(`layer ${at}`)));
const remote = remoteRepository(new MemoryUpstream(), repo("team/app"));

function pulled(layers = digests): PullProgress {
  const missing = layers.map((digest, at) => ({ digest, size: at + 1 }));
  return new PullProgress("key", "10.0.0.1", new Set(layers), missing);
}

function layerAt(image: PullProgress, at: number): PullLayer {
  return image.layers[at] as PullLayer;
}

/** Asks for the layers at these places, and gives what ends each request. */
function ask(image: PullProgress, ...places: number[]): (() => void)[] {
  return places.map((at) => image.ask(layerAt(image, at), remote, 1));
}

/** Places of the layers that come next. */
function next(image: PullProgress): number[] {
  return image.next.map((layer) => image.layers.indexOf(layer));
}

t.test("the layers behind the last one asked for come next, in the order of the manifest", async (t) => {
  const image = pulled();
  t.same(next(image), [], "nothing before the first");
  ask(image, 1);
  t.same(next(image), [2, 3, 4, 5], "what is before the first is what the client has");
  ask(image, 2, 3);
  t.same(next(image), [4, 5]);
  ask(image, 4, 5);
  t.same(next(image), []);
});

t.test("while there is a gap nothing comes next; requests sent together come in any order", async (t) => {
  const image = pulled();
  ask(image, 0, 2);
  t.same(next(image), []);
  t.notOk(image.stopped);
  ask(image, 1);
  t.same(next(image), [3, 4, 5]);
  const late = pulled();
  ask(late, 3, 1, 2);
  t.same(next(late), [4, 5], "also when a later one came first");
});

t.test("a layer is left out when more is asked for after one behind it was answered", async (t) => {
  const image = pulled();
  const [, second] = ask(image, 0, 2);
  second?.();
  t.same(image.skipped(), [layerAt(image, 1)]);
  t.notOk(image.stopped, "it may still be on its way");
  ask(image, 3);
  t.ok(image.stopped);
  ask(image, 1);
  t.same(next(image), [], "for good");

  const ordered = pulled();
  for (const over of ask(ordered, 0)) over();
  for (const over of ask(ordered, 1)) over();
  ask(ordered, 2);
  t.same([ordered.stopped, next(ordered)], [false, [3, 4, 5]], "one after the other is in order");
});

t.test("a client that asks again for what it was given leaves nothing out", async (t) => {
  const image = pulled();
  for (const over of ask(image, 0, 2)) over();
  ask(image, 2);
  t.notOk(image.stopped);
});

t.test("fetched ahead counts until it is asked for", async (t) => {
  const image = pulled();
  ask(image, 0);
  layerAt(image, 1).ahead = "here";
  layerAt(image, 2).ahead = "coming";
  layerAt(image, 3).ahead = "deciding";
  t.equal(bytesOf(image.ahead), 2 + 3 + 4);
  ask(image, 1);
  t.equal(bytesOf(image.ahead), 3 + 4);
});

t.test("three for each that was asked for may be ahead, and sixteen at most", async (t) => {
  const image = pulled();
  t.equal(image.mostAhead, 0);
  ask(image, 0);
  t.equal(image.mostAhead, 3);
  ask(image, 1, 2);
  t.equal(image.mostAhead, 9);
  ask(image, 3, 4, 5);
  t.equal(image.mostAhead, maxAhead);
});

t.test("it is over when all was asked for, and nothing is waited for", async (t) => {
  const image = pulled(digests.slice(0, 2));
  const [first] = ask(image, 0);
  first?.();
  t.notOk(image.isOver);
  const [second] = ask(image, 1);
  t.notOk(image.isOver);
  second?.();
  t.ok(image.isOver);
});

t.test("by the right of a request under way: of callers with credentials of one that waits", async (t) => {
  const image = pulled();
  t.equal(image.remote, undefined);
  const of = (caller: CallerCredentials): RemoteRepository => ({
    ...remote,
    registry: Object.assign(new MemoryUpstream(), { caller }),
  });
  const [one, other] = [new CallerCredentials("", "a"), new CallerCredentials("", "a")];
  const oneOver = image.ask(layerAt(image, 0), of(one), 1);
  const otherOver = image.ask(layerAt(image, 1), of(other), 1);
  t.equal(image.remote?.registry.caller, other);
  other.leave();
  t.equal(image.remote?.registry.caller, one);
  otherOver();
  one.leave();
  t.equal(image.remote, undefined);
  oneOver();
  ask(image, 2);
  t.equal(image.remote, remote);
});

t.test("of a manifest with more layers the first ones are looked at", async (t) => {
  const many = Array.from({ length: maxLayers + 1 }, (_, at) => sha256(Buffer.from(String(at))));
  t.equal(pulled(many).layers.length, maxLayers);
  t.ok(pulled(many).has(many.at(-1) as (typeof many)[0]));
});
