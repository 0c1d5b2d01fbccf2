import t from "tap";
import { createProjectLabel } from "../../../src/telemetry/lines/influx-points.ts";

t.test("a project is the first segment of what was served at least once", async (t) => {
  const project = createProjectLabel(10);
  t.equal(project(undefined, true), undefined);
  t.equal(project("team/app", false), "_other", "nobody has it, as far as is known");
  t.equal(project("team/app/base", true), "team");
  t.equal(project("team/gone", false), "team", "a failure of a known project is told of it");
  t.equal(project("alone", true), "alone");
});

t.test("there are only so many", async (t) => {
  const project = createProjectLabel(3);
  const labels = new Set(Array.from({ length: 1000 }, (_, at) => project(`p${at}/app`, true)));
  t.strictSame([...labels], ["p0", "p1", "p2", "_other"]);
});
