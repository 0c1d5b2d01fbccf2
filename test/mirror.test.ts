// Tests stand beside what they are of, and have its name (CONTRIBUTING.md, "How the code is laid out").
import { readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import t from "tap";
import { unmirroredTests } from "./fixtures/mirror-rule.ts";

function filesBelow(folder: string): string[] {
  const root = join(import.meta.dirname, "..", folder);
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll(sep, "/"));
}

t.test("the tests mirror the sources", async (t) => {
  const tests = filesBelow("test");
  const sources = filesBelow("src");
  t.ok(tests.includes("ports/single-flight.test.ts"), "reads the real tests");
  t.ok(sources.includes("ports/single-flight.ts"), "reads the real sources");
  t.strictSame(unmirroredTests(tests, sources), []);
});

const sources = [
  "main.ts",
  "app.ts",
  "app/policy.ts",
  "cache/fill.ts",
  "cache/fill/spool.ts",
  "ops/page.css",
];

t.test("what breaks the rule is found", async (t) => {
  for (const [test, folder] of [
    ["cache/eviction.test.ts", "src/cache"],
    ["cache/filling.test.ts", "src/cache"],
    ["cache/shared-fill.test.ts", "src/cache"],
    ["cache/spool.test.ts", "src/cache"],
    ["spool.test.ts", "src"],
    ["app/app.test.ts", "src/app"],
    ["http/fill.test.ts", "src/http"],
    ["http/mirror.test.ts", "src/http"],
    ["benches/fill.test.ts", "src/benches"],
  ] as const)
    t.strictSame(
      unmirroredTests([test], sources),
      [`test/${test} begins with the name of no file of ${folder}`],
      test,
    );
  t.strictSame(
    unmirroredTests(["http/b.test.ts", "cache/fill.test.ts", "http/a.test.ts"], sources).map((line) =>
      line.split(" ", 1),
    ),
    [["test/http/a.test.ts"], ["test/http/b.test.ts"]],
    "each of them",
  );
});

t.test("what keeps the rule is let through", async (t) => {
  const tests = [
    "main.test.ts",
    "app-full-disk.test.ts",
    "cache/fill.test.ts",
    "cache/fill-relay-pace.test.ts",
    "cache/fill/spool-sizes.test.ts",
    "ops/page-contrast.test.ts",
    "imports.test.ts",
    "mirror.test.ts",
    "attacks/token-realm.test.ts",
    "system/outages.test.ts",
    "deploy/grafana.test.ts",
    "fixtures/anything.ts",
    "cache/kill-worker.ts",
  ];
  t.strictSame(unmirroredTests(tests, sources), []);
});
