// deploy/Dockerfile and what it is given to copy. What its stages run is run in test/system/image-stages.test.ts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";

const root = join(import.meta.dirname, "../..");
const dockerfile = readFileSync(join(root, "deploy/Dockerfile"), "utf8").replaceAll("\\\n", "");

t.test("the context holds what is copied, and little else", async (t) => {
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names]) =>
    names?.split(" "),
  );
  const kept = readFileSync(join(root, ".dockerignore"), "utf8").split("\n");
  t.same(
    [...new Set(copied)].sort(),
    kept
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1))
      .sort(),
  );
  t.ok(kept.includes("*"));
});
