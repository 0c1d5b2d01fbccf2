import t from "tap";
import { handlesFinding, memoryFinding } from "../../src/doctor/machine.ts";

const mib = 1024 * 1024;

t.test("file handles: too few, few, enough, unknown", async (t) => {
  for (const [limit, outcome] of [
    [64, "failed"],
    [1024, "warning"],
    [65_536, "ok"],
    [undefined, "skipped"],
  ] as const)
    t.equal(handlesFinding(limit, "here").outcome, outcome, String(limit));
  t.match(handlesFinding(1024, "here").fix, /LimitNOFILE=/);
});

t.test("memory: what the primary and its workers need", async (t) => {
  t.match(memoryFinding(200 * mib, 1, "here"), { outcome: "warning", fix: /400 MiB at least/ });
  t.equal(memoryFinding(500 * mib, 1, "here").outcome, "ok");
  t.match(memoryFinding(500 * mib, 4, "here"), { outcome: "warning", fix: /1000 MiB.*fewer workers than 4/ });
  t.equal(
    memoryFinding(500 * mib, "auto", "here").outcome,
    "ok",
    "auto makes no more than there is room for",
  );
});
