// Waiting for a lease that another node holds.
import t from "tap";
import { Releases } from "../../../src/cache/sharing/releases.ts";
import { MemoryShared } from "../../fixtures/memory-shared.ts";

function open() {
  const shared = new MemoryShared();
  const [here, there] = [shared.node("here"), shared.node("there")];
  return { releases: new Releases(here.announcements), there };
}

t.test("all that wait for the key hear of it, and no others", async (t) => {
  const { releases, there } = open();
  const ending = new AbortController();
  const waiting = ["a", "a", "b"].map((key) => {
    const state = { key, heard: false };
    const done = releases.released(key, ending.signal).then(() => {
      state.heard = true;
    });
    return { state, done };
  });
  void there.announcements.publish({
    kind: "written",
    scope: { upstream: "hub", repository: "team/app" as never },
  });
  void there.announcements.publish({ kind: "released", key: "a" });
  await Promise.all(waiting.slice(0, 2).map(({ done }) => done));
  t.same(
    waiting.map(({ state }) => state.heard),
    [true, true, false],
  );
  ending.abort();
  await Promise.all(waiting.map(({ done }) => done));
});

t.test("it ends with the signal, also one that has aborted before", async (t) => {
  const { releases, there } = open();
  const ending = new AbortController();
  const waiting = releases.released("a", ending.signal);
  ending.abort();
  await t.resolves(waiting);
  await t.resolves(releases.released("a", ending.signal));
  const again = releases.released("a", new AbortController().signal);
  void there.announcements.publish({ kind: "released", key: "a" });
  await t.resolves(again, "and can be waited for again");
});
