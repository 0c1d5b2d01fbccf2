// What the answers of upstream leave in the history of a tag, and when a move is told of.
import t from "tap";
import { remoteRepository } from "../../../src/ports/upstream.ts";
import { type CacheFixture, openCache } from "../../fixtures/cache-fixture.ts";
import {
  app,
  failWith,
  first,
  openResolvedTag,
  openTag,
  push,
  record,
  second,
  tag,
  ttl,
} from "../../fixtures/tag-fixture.ts";

const scope = { upstream: "up", repository: app };

function moves({ notices }: CacheFixture) {
  return notices.flatMap((notice) => (notice.kind === "tag_moved" ? [notice] : []));
}

function openAs(
  { manifests, upstream }: CacheFixture,
  onBehalfOf: { key: string; user?: string; background?: true },
) {
  const remote = remoteRepository(upstream, app, { exempt: false, ...onBehalfOf });
  return manifests.open(remote, { kind: "tag", tag });
}

t.test("a move is noticed at the first question after it, once, with who asked", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  await openAs(cache, { key: "user ann", user: "ann" });
  const seenAt = cache.clock.now;
  t.same(moves(cache), [], "a first sight is none");
  push(cache, second);
  await openAs(cache, { key: "10.0.0.1" });
  t.same(moves(cache), [], "while it is fresh nobody asks");
  cache.clock.advance(ttl + 1);
  await openAs(cache, { key: "10.0.0.1" });
  const movedAt = cache.clock.now;
  cache.clock.advance(ttl + 1);
  await openAs(cache, { key: "user ann", user: "ann" });
  t.same(moves(cache), [
    { kind: "tag_moved", ...scope, tag, from: first.digest, to: second.digest, by: "10.0.0.1" },
  ]);
  t.strictSame(cache.index.history.of(scope, tag), [
    { digest: first.digest, firstSeen: seenAt, by: "ann", end: { at: movedAt, why: "moved" } },
    { digest: second.digest, firstSeen: movedAt, by: "10.0.0.1", end: undefined },
  ]);
});

t.test("nobody has asked whom nobody waited for, and an account without a name is no address", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  await openAs(cache, { key: "10.0.0.1", background: true });
  push(cache, second);
  cache.clock.advance(ttl + 1);
  await openAs(cache, { key: "account x1y2" });
  t.match(cache.index.history.of(scope, tag), [{ by: undefined }, { by: undefined }]);
});

t.test("one that upstream has no more has ended; a refusal or a failure says nothing of it", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl + 1);
  failWith(cache, "unreachable");
  await openTag(cache);
  t.match(cache.index.history.of(scope, tag), [{ end: undefined }], "away");
  cache.upstream.fault = undefined;
  cache.upstream.remove(app, tag);
  cache.clock.advance(ttl + 1);
  await openTag(cache);
  t.match(cache.index.history.of(scope, tag), [{ end: { at: cache.clock.now, why: "deleted" } }]);
  push(cache, second);
  cache.clock.advance(ttl + 1);
  await openTag(cache);
  t.match(cache.index.history.of(scope, tag), [{}, { digest: second.digest, end: undefined }]);
  t.same(moves(cache), [], "it has not moved");
  cache.upstream.deny(app);
  cache.clock.advance(ttl + 1);
  t.equal((await openTag(cache)).kind, "denied");
  t.match(cache.index.history.of(scope, tag), [{}, { end: undefined }], "rights withdrawn are no deletion");
});

t.test("a purged tag, and one pushed through here, keep what they have named", async (t) => {
  const cache = await openResolvedTag(t);
  await cache.manifests.changed(scope, { kind: "tag", tag }, "pushed");
  t.equal(await record(cache), undefined);
  push(cache, second);
  await openTag(cache);
  t.match(moves(cache), [{ from: first.digest, to: second.digest }]);
  await cache.index.tags.delete(scope, tag);
  cache.clock.advance(ttl + 1);
  await openTag(cache);
  t.equal(moves(cache).length, 1, "the same again is no move");
  t.equal(cache.index.history.of(scope, tag).length, 2);
});

t.test("a store that fails is a notice, and the tag is served", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  cache.index.history.named = async () => {
    throw new Error("the disk is gone");
  };
  t.equal((await openTag(cache)).kind, "found");
  t.match(
    cache.notices.filter(({ kind }) => kind === "store_error"),
    [{ op: "history.put", message: "the disk is gone" }],
  );
});
