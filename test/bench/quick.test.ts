// The bench in small, as a smoke test: every scenario runs against every peer, and what it counts is right. Never a
// time: this machine may do anything else meanwhile.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { attempt } from "../system/fixtures/child.ts";
import { requires } from "../system/fixtures/requires.ts";
import type { Report, ScenarioReport } from "./report.ts";
import { ours } from "./scenario.ts";

const bench = fileURLToPath(new URL("./bench.ts", import.meta.url));
/** Without the runner's loader, which would slow down what it measures. */
const node = ["-u", "NODE_OPTIONS", process.execPath, bench];
/** Milliseconds; one to two minutes are usual. */
const timeout = 600_000;

/** Scenarios that compare nothing: only ours is asked. */
const alone = [
  "mixed-load",
  "access-modes",
  "tracing",
  "regular-tags",
  "herd",
  "two-nodes",
  "index-size",
  "prefetch-trace",
  "growth-workers",
  "growth-index",
  "growth-clients",
  "growth-nodes",
  "growth-cache-size",
];
const compared = [
  "cached-manifests",
  "blob-hits",
  "parallel-downloads",
  "cold-misses",
  "several-processes",
  "trace",
];

t.test("the bench in small", { timeout }, async (t) => {
  if (
    !requires(
      t,
      "linux",
      "taskset",
      "setpriv",
      "docker-registry",
      "nginx",
      "wrk",
      "haproxy",
      "python3",
      "redis-server",
    )
  )
    return;
  const file = join(t.testdir(), "report.json");
  const picture = join(t.testdirName, "growth.svg");
  const args = [...node, "--quick", "--json", file, "--picture", picture];
  const { code, output, standardOutput } = await attempt("env", args, { timeout });
  t.equal(code, 0, `exits with 0\n${output}`);
  const report = JSON.parse(await readFile(file, "utf8")) as Report;
  const named = (name: string): ScenarioReport | undefined =>
    report.scenarios.find((scenario) => scenario.name === name);

  t.equal(report.peers.length, 3);
  // Needs root and TUN devices, which a machine with all programs may not have.
  const linked = named("long-link")?.result === "skipped" ? [] : ["long-link", "prefetch"];
  for (const name of [...compared, ...linked, ...alone]) {
    t.match(named(name), { result: "passed", rounds: 1 }, name);
    t.ok((named(name)?.checks ?? 0) >= 5, `${name} looks at what it gets`);
    t.ok((named(name)?.rows.length ?? 0) > 0, `${name} has rows`);
    for (const { id, title, values } of named(name)?.rows ?? []) {
      // Distribution's cache has no bound.
      const bounded = report.peers.filter(
        (peer) => !(id.startsWith("room-") && peer.startsWith("Distribution")),
      );
      const peers = [...alone, "prefetch"].includes(name) ? [ours] : bounded;
      t.strictSame(Object.keys(values).sort(), [...peers].sort(), `${name}: ${title}: everybody's numbers`);
      const numbers = Object.values(values).flatMap(({ rounds }) => rounds);
      t.ok(numbers.every(Number.isFinite), `${name}: ${title}: all of them numbers`);
    }
  }
  for (const scenario of report.scenarios.filter(({ result }) => result === "skipped"))
    t.comment(`${scenario.name} was skipped: ${scenario.reason}`);

  t.match(await readFile(picture, "utf8"), /^<svg .*<\/svg>\n$/s, "what grows is drawn");
  t.match(standardOutput, /^\| Growing: clients at once \| 1 \| 20 \|$/m, "and has tables of its own");

  const cold = (id: string): number | undefined =>
    named("cold-misses")?.rows.find((row) => row.id === id)?.values[ours]?.median;
  for (const id of ["alone-bytes", "crowd-bytes"]) {
    const bytes = cold(id) ?? Number.NaN;
    t.ok(bytes >= 1 && bytes <= 1.02, `upstream sends each blob once: ${id} ${bytes}`);
  }
  t.match(
    standardOutput,
    /^\| measurement \| Entrepôt \| Distribution [\d.]+ \| nginx \| ratio \| target \|$/m,
  );
});

t.test("what cannot be run is said before anything starts", async (t) => {
  const unknown = await attempt("env", [...node, "--only", "nonsense"]);
  t.match(unknown, { code: 2, output: /no such scenario: nonsense; there are cached-manifests, / });
  const noPrograms = await attempt("env", [
    "-u",
    "NODE_OPTIONS",
    `PATH=${t.testdir()}`,
    process.execPath,
    bench,
  ]);
  t.match(noPrograms, { code: 2, output: /missing: .*wrk.*; test\/system\/install-debian.sh installs/ });
  const noRegistry = await attempt("env", [...node, "--registry", "nowhere/registry"]);
  const noGrowth = await attempt("env", [...node, "--only", "cached-manifests", "--picture", "x.svg"]);
  t.match(noGrowth, { code: 2, output: /--picture x\.svg: it draws the scenarios growth-/ });
  t.match(noRegistry, { code: 2, output: /--registry nowhere\/registry: no program there/ });
});
