import t from "tap";
import { failed, ok, Part, warning, worstOf } from "../../src/doctor/examination.ts";

const part = (signal = new AbortController().signal, timeout?: number) =>
  new Part({ name: "part", signal, ...(timeout === undefined ? {} : { timeout }) });

t.test("behind a check that failed the others are skipped, and say behind which", async (t) => {
  const of = part();
  t.equal(await of.check("first", () => ok("is there", 7)), 7);
  t.equal(await of.check("second", () => failed("is not", "Mend it.")), undefined);
  await of.check("third", () => t.fail("is not looked at") as never);
  t.match(of.checks, [
    { part: "part", name: "first", outcome: "ok", seen: "is there" },
    { name: "second", outcome: "failed", seen: "is not", fix: "Mend it." },
    { name: "third", outcome: "skipped", seen: "second failed" },
  ]);
});

t.test("nothing is skipped behind one that stands alone", async (t) => {
  const of = part();
  await of.check("first", () => failed("is not", "Mend it."), { alone: true });
  await of.check("second", () => ok("is there"));
  t.match(of.checks, [{ outcome: "failed" }, { outcome: "ok" }]);
});

t.test("a check that never ends fails after its time", async (t) => {
  const of = part(undefined, 20);
  const { promise, resolve } = Promise.withResolvers<never>();
  await of.check("first", () => promise);
  t.match(of.checks, [{ outcome: "failed", seen: /no answer within/ }]);
  resolve(undefined as never);
});

t.test("one that throws fails with what it says", async (t) => {
  const of = part();
  await of.check("first", () => Promise.reject(new Error("unheard of")));
  t.match(of.checks, [{ outcome: "failed", seen: "unheard of" }]);
});

t.test("when the time for all is over the rest is skipped", async (t) => {
  const of = part(AbortSignal.abort());
  await of.check("first", () => ok("is there"));
  t.match(of.checks, [{ outcome: "skipped", seen: /time for all checks/ }]);
});

t.test("the worst counts", async (t) => {
  t.equal(worstOf([ok("")]), "ok");
  t.equal(worstOf([ok(""), warning("", "")]), "warning");
  t.equal(worstOf([warning("", ""), failed("", "")]), "failed");
  t.equal(worstOf([]), "ok");
});
