import t from "tap";
import type { House } from "../fixtures/cache-house.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";
import { app, failWith, first, push, resolvedHouse, tagGives, ttl } from "../fixtures/tag-house.ts";

type Changed = Parameters<House["manifests"]["changed"]>[3];

function changed({ manifests, upstream }: House, what: Changed, repository = app): Promise<void> {
  return manifests.changed(upstream, repository, { kind: "digest", digest: first.digest }, what);
}

for (const what of ["deleted", "unsure"] as const)
  t.test(`${what}: the tag is confirmed once, then fresh again`, async (t) => {
    const house = await resolvedHouse(t);
    await changed(house, what);
    house.clock.advance(1);
    await tagGives(t, house, first, "revalidated");
    await tagGives(t, house, first, "hit");
    t.same(house.upstream.calls, ["HEAD manifest team/app 1.0"]);
    house.clock.advance(ttl - 1);
    await tagGives(t, house, first, "hit", ttl - 1);
  });

t.test("deleted while upstream's answer of before is on its way", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl);
  const answer = gate();
  house.upstream.fault = () => answer.opened;
  const before = tagGives(t, house, first, "revalidated");
  await eventually("upstream is asked", () => house.upstream.calls.length === 1);
  house.clock.advance(1);
  await changed(house, "deleted");
  house.clock.advance(1);
  house.upstream.fault = undefined;
  answer.open();
  await before;
  await tagGives(t, house, first, "revalidated");
  await tagGives(t, house, first, "hit");
  t.equal(house.upstream.calls.length, 2);
});

t.test("deleted, and upstream is away: stale rather than gone", async (t) => {
  const house = await resolvedHouse(t);
  await changed(house, "deleted");
  failWith(house, "unreachable");
  await tagGives(t, house, first, "stale");
});

t.test("what was pushed, or deleted in another repository, is not doubtful", async (t) => {
  const house = await resolvedHouse(t);
  push(house, first, "team/other");
  await changed(house, "pushed");
  await changed(house, "deleted", repo("team/other"));
  await tagGives(t, house, first, "hit");
  t.same(house.upstream.calls, []);
});
