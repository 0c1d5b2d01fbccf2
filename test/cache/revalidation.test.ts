import t from "tap";
import { Revalidation } from "../../src/cache/revalidation.ts";
import { ManualClock } from "../fixtures/manual-time.ts";

/** Revalidation of one key: a client waits no longer than a turn for answers that do not come. */
function setUp() {
  const clock = new ManualClock();
  const revalidation = new Revalidation<string>({ clock: clock.read, pause: async () => {} });
  const questions: PromiseWithResolvers<string>[] = [];
  const ask = () => {
    const question = Promise.withResolvers<string>();
    questions.push(question);
    return question.promise;
  };
  const refresh = async (key = "tag") => {
    // Longer than a failure is remembered.
    clock.advance(5_000);
    return await revalidation.refresh(key, ask);
  };
  return { questions, refresh };
}

t.test("however long upstream may take, three questions about one thing wait for it at most", async (t) => {
  const { questions, refresh } = setUp();
  for (let round = 0; round < 20; round++)
    t.match(await refresh(), { kind: "failed", reason: { code: "timeout" } });
  t.equal(questions.length, 3);
  t.match(await refresh("another"), { kind: "failed" });
  t.equal(questions.length, 4, "of another one more");
  questions[1]?.reject(new Error("gone"));
  await Promise.allSettled(questions.slice(1, 2).map(({ promise }) => promise));
  for (let round = 0; round < 5; round++) t.match(await refresh(), { kind: "failed" });
  t.equal(questions.length, 5, "one that ends makes room for one");
});

t.test("an answer, however late, ends the doubt", async (t) => {
  const { questions, refresh } = setUp();
  for (let round = 0; round < 5; round++) await refresh();
  questions[0]?.resolve("answer");
  await questions[0]?.promise;
  await new Promise(setImmediate);
  for (let round = 0; round < 5; round++) await refresh();
  t.equal(questions.length, 6, "three more");
});
