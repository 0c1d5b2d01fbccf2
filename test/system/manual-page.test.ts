// The manual page as the formatters of Debian and of Alpine and the BSDs take it.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { attempt, run } from "./fixtures/child.ts";
import { requires } from "./fixtures/requires.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

async function page(t: Test): Promise<string> {
  const path = join(t.testdir(), "entrepot.1");
  await writeFile(path, await run(process.execPath, [main, "man"]));
  return path;
}

t.test("man has nothing to complain about, and shows it", async (t) => {
  if (!requires(t, "man")) return;
  const { code, output, standardOutput } = await attempt(
    "man",
    ["--warnings", "--local-file", await page(t)],
    {
      env: { LC_ALL: "C.UTF-8", MANWIDTH: "80" },
    },
  );
  t.equal(code, 0);
  t.equal(output, standardOutput, "no warnings");
  t.match(output, /NAME\n +entrepot - pull-through cache/);
  t.match(output, /ENTREPOT_UPSTREAM_URL\n/);
});

t.test("mandoc has nothing to complain about but that the page has no date", async (t) => {
  if (!requires(t, "mandoc")) return;
  const { output } = await attempt("mandoc", ["-T", "lint", "-W", "warning", await page(t)]);
  t.same(
    output.split("\n").filter((line) => line !== "" && !line.includes("missing date")),
    [],
  );
});
