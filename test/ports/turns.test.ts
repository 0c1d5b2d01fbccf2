import t from "tap";
import { Turns } from "../../src/ports/turns.ts";
import { gate, quiet } from "../fixtures/manual-time.ts";

t.test("so many at once, in order, and a failure gives its turn on", async (t) => {
  const turns = new Turns(2);
  const begun: number[] = [];
  const gates = [1, 2, 3, 4].map(() => gate());
  const works = gates.map((each, at) =>
    turns.run(async () => {
      begun.push(at);
      await each.opened;
      if (at === 0) throw new Error("failed");
      return at;
    }),
  );
  const over = Promise.allSettled(works);
  await quiet();
  t.same(begun, [0, 1]);
  gates[0]?.open();
  await t.rejects(works[0] as Promise<number>, { message: "failed" });
  await quiet();
  t.same(begun, [0, 1, 2]);
  for (const each of gates) each.open();
  t.same(
    (await over).map(({ status }) => status),
    ["rejected", "fulfilled", "fulfilled", "fulfilled"],
  );
  t.equal(await turns.run(async () => 7), 7);
});
