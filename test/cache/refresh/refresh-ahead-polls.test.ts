// An hour of clients that poll 200 tags and pull some: how many of them wait for upstream, and what upstream is asked, with
// confirmations ahead and without. The bars are those of issue 17: of the requests of tags that were asked for in each of their
// last three times to live at most 1 % wait, for at most 1.3 times the HEADs.
import t, { type Test } from "tap";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import { remoteRepository } from "../../../src/ports/upstream.ts";
import { openCache } from "../../fixtures/cache-fixture.ts";
import { tagOf } from "../../fixtures/memory-upstream.ts";
import { SeededRandom } from "../../fixtures/seeded-random.ts";
import { app, first, push, ttl } from "../../fixtures/tag-fixture.ts";

const hour = 3_600_000;
const tags = 200;
/** As in the published traces of a production registry: the slope of the popularity, and the share of requests that are polls. */
const slope = -1.06;
const polls = 0.79;

interface Request {
  readonly at: number;
  readonly tag: Tag;
}

/** Polls at intervals that differ by a tenth, and pulls at random, `perSecond` together. */
function requestsOf(perSecond: number): Request[] {
  const seeded = new SeededRandom(17);
  const random = (): number => seeded.next();
  const weights = Array.from({ length: tags }, (_, i) => (i + 1) ** slope);
  const sum = weights.reduce((all, weight) => all + weight);
  const requests: Request[] = [];
  for (const [i, weight] of weights.entries()) {
    const interval = (1_000 * sum) / (weight * perSecond);
    const name = tagOf(`v${i}`);
    const poll = interval / polls;
    for (let at = random() * poll; at < hour; at += poll * (0.9 + 0.2 * random()))
      requests.push({ at, tag: name });
    const pull = interval / (1 - polls);
    const gap = (): number => -Math.log(1 - random()) * pull;
    for (let at = gap(); at < hour; at += gap()) requests.push({ at, tag: name });
  }
  return requests.sort((a, b) => a.at - b.at);
}

/** Whether there was a request in each of the last three times to live; `times` are those of the requests before. */
function isRegular(times: readonly number[], at: number): boolean {
  return [1, 2, 3].every((back) =>
    times.some((time) => time >= at - back * ttl && time < at - (back - 1) * ttl),
  );
}

async function anHour(t: Test, requests: readonly Request[], refreshAhead: number) {
  const cache = await openCache(t, { remembered: true, refreshAhead, name: `share-${refreshAhead}` });
  const { clock, upstream, manifests, refreshAhead: ahead } = cache;
  for (let i = 0; i < tags; i++) push(cache, first, app, `v${i}`);
  const remote = remoteRepository(upstream, app as Repository, { key: "192.0.2.1", exempt: false });
  const start = clock.now;
  let nextLook = 0;
  const before = new Map<Tag, number[]>();
  const counts = { requests: requests.length, waiting: 0, regular: 0, regularWaiting: 0, oldest: 0 };
  for (const { at, tag } of requests) {
    for (; nextLook <= at; nextLook += 1_000) {
      clock.now = start + nextLook;
      await ahead.look();
    }
    clock.now = start + Math.floor(at);
    const times = before.get(tag) ?? [];
    const regular = isRegular(times, at);
    before.set(
      tag,
      [...times.slice(-1_000), at].filter((time) => time > at - 3 * ttl),
    );
    const opened = await manifests.open(remote, { kind: "tag", tag });
    if (opened.kind !== "found" || "reader" in opened) throw new Error(opened.kind);
    const waits = opened.result !== "hit";
    counts.waiting += Number(waits);
    counts.regular += Number(regular);
    counts.regularWaiting += Number(waits && regular);
    counts.oldest = Math.max(counts.oldest, opened.age);
  }
  return { ...counts, heads: upstream.count("HEAD"), gets: upstream.count("GET") };
}

t.test("an hour of polls", { timeout: 300_000 }, async (t) => {
  const requests = requestsOf(3);
  const without = await anHour(t, requests, 0);
  const ahead = await anHour(t, requests, 0.5);
  const served = 1 - ahead.regularWaiting / ahead.regular;
  const ratio = ahead.heads / without.heads;
  t.comment(`without ${JSON.stringify(without)}`);
  t.comment(
    `ahead ${JSON.stringify(ahead)}: ${(100 * served).toFixed(2)} %, ${ratio.toFixed(3)} times the HEADs`,
  );
  t.ok(served >= 0.99, "of the requests of regular tags that wait for nothing");
  t.ok(ratio <= 1.3, "of the HEADs there are without");
  t.ok(ahead.oldest <= ttl, "none is older than its time to live");
  t.equal(ahead.gets, tags, "each manifest is fetched once");
  t.ok(without.regularWaiting / without.regular > 0.1, "which is not so without");
});
