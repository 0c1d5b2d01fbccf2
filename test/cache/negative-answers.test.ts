import t from "tap";
import { NegativeAnswers } from "../../src/cache/negative-answers.ts";
import { MemoryShared } from "../fixtures/memory-shared.ts";
import { repo } from "../fixtures/memory-upstream.ts";

t.test("an answer is remembered for its time, for one upstream, repository, kind and name", async (t) => {
  let now = 1_000;
  const answers = new NegativeAnswers(10_000, () => now);
  answers.add({ upstream: "up", repository: repo("team/app") }, "manifest", "latest");
  t.ok(answers.has({ upstream: "up", repository: repo("team/app") }, "manifest", "latest"));
  t.notOk(answers.has({ upstream: "other", repository: repo("team/app") }, "manifest", "latest"));
  t.notOk(answers.has({ upstream: "up", repository: repo("team/web") }, "manifest", "latest"));
  t.notOk(answers.has({ upstream: "up", repository: repo("team/app") }, "blob", "latest"));
  t.notOk(answers.has({ upstream: "up", repository: repo("team/app") }, "manifest", "1"));
  now += 9_999;
  t.ok(answers.has({ upstream: "up", repository: repo("team/app") }, "manifest", "latest"));
  now += 2;
  t.notOk(answers.has({ upstream: "up", repository: repo("team/app") }, "manifest", "latest"));
});

t.test("forgetting a repository leaves its neighbours", async (t) => {
  const answers = new NegativeAnswers(10_000, () => 0);
  const names = ["team/app", "team/app2", "team", "team/app/web"] as const;
  for (const name of names) answers.add({ upstream: "up", repository: repo(name) }, "manifest", "1");
  answers.add({ upstream: "other", repository: repo("team/app") }, "manifest", "1");
  answers.add({ upstream: "up", repository: repo("team/app") }, "blob", "x");
  void answers.forget({ upstream: "up", repository: repo("team/app") });
  t.notOk(answers.has({ upstream: "up", repository: repo("team/app") }, "manifest", "1"));
  t.notOk(answers.has({ upstream: "up", repository: repo("team/app") }, "blob", "x"));
  for (const name of names.slice(1))
    t.ok(answers.has({ upstream: "up", repository: repo(name) }, "manifest", "1"), name);
  t.ok(answers.has({ upstream: "other", repository: repo("team/app") }, "manifest", "1"));
});

t.test("no time, no memory", async (t) => {
  const answers = new NegativeAnswers(0, () => 0);
  answers.add({ upstream: "up", repository: repo("a") }, "manifest", "1");
  t.notOk(answers.has({ upstream: "up", repository: repo("a") }, "manifest", "1"));
  void answers.forget({ upstream: "up", repository: repo("a") });
});

t.test("the nodes announce to each other, and no answer goes round", async (t) => {
  let now = 1_000;
  const shared = new MemoryShared();
  const [first, second] = [shared.node(), shared.node()];
  const [here, there] = [first, second].map(
    ({ announcements }) => new NegativeAnswers(10_000, () => now, announcements),
  );
  here?.add({ upstream: "up", repository: repo("team/app") }, "manifest", "latest");
  t.ok(there?.has({ upstream: "up", repository: repo("team/app") }, "manifest", "latest"));
  now += 10_001;
  t.notOk(
    there?.has({ upstream: "up", repository: repo("team/app") }, "manifest", "latest"),
    "for the same time",
  );
  here?.add({ upstream: "up", repository: repo("team/app") }, "blob", "x");
  here?.add({ upstream: "up", repository: repo("team/web") }, "blob", "x");
  void there?.forget({ upstream: "up", repository: repo("team/app") });
  t.notOk(
    here?.has({ upstream: "up", repository: repo("team/app") }, "blob", "x"),
    "something was written there",
  );
  t.ok(here?.has({ upstream: "up", repository: repo("team/web") }, "blob", "x"));
  t.strictSame(
    [first, second].map(({ announcements }) => announcements.published.map(({ kind }) => kind)),
    [["absent", "absent", "absent"], ["written"]],
  );
  second.announcements.missed();
  t.notOk(
    there?.has({ upstream: "up", repository: repo("team/web") }, "blob", "x"),
    "something may have been written",
  );
});

t.test("long names make the memory no larger: the oldest give way", async (t) => {
  const answers = new NegativeAnswers(10_000, () => 1);
  const name = (at: number): string => `${at}-${"q".repeat(3_900)}`;
  for (let at = 0; at < 2_000; at++)
    answers.add({ upstream: "up", repository: repo("team/app") }, "manifest", name(at));
  const kept = Array.from({ length: 2_000 }, (_, at) => at).filter((at) =>
    answers.has({ upstream: "up", repository: repo("team/app") }, "manifest", name(at)),
  );
  t.ok(kept.length > 100 && kept.length * 2 * 3_900 <= 4 * 1024 * 1024, `${kept.length} kept`);
  t.equal(kept.at(-1), 1_999);
});
