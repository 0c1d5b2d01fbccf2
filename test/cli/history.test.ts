import t from "tap";
import type { TagReport } from "../../src/ops/history/tag-report.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { startJsonServer } from "../fixtures/json-server.ts";
import { sampleDigest } from "../fixtures/telemetry-samples.ts";

const at = Date.UTC(2026, 10, 1, 12);
const report: TagReport = {
  schema: 1,
  at,
  upstream: "hub",
  repository: "team/app",
  tag: "1.0",
  stays: [
    {
      digest: "sha256:a",
      firstSeenAt: at - 60_000,
      by: "ann",
      endedAt: at - 1_000,
      ended: "moved",
      nodes: ["n1", "n2"],
    },
    { digest: sampleDigest, firstSeenAt: at - 1_000, by: null, endedAt: null, ended: null, nodes: ["n1"] },
  ],
  silentNodes: [],
};

t.test("a line for each digest, the last one first", async (t) => {
  const { asked, url } = await startJsonServer(t, () => ({ json: report }));
  const line = commandLine(["history", "team/app:1.0", "--ops", url.host]);
  t.equal(await line.exit, 0);
  t.equal(
    line.out(),
    [
      "team/app:1.0 from hub",
      `  ${sampleDigest}  2026-11-01T11:59:59Z to now  (n1)`,
      "  sha256:a  2026-11-01T11:59:00Z to 2026-11-01T11:59:59Z moved, asked by ann  (n1 n2)",
      "",
    ].join("\n"),
  );
  t.strictSame(
    asked.map(({ path }) => path),
    ["/api/v1/history?reference=team%2Fapp%3A1.0"],
  );
  const json = commandLine(["history", "team/app:1.0", "--ops", url.host, "--json"]);
  t.equal(await json.exit, 0);
  t.strictSame(JSON.parse(json.out()), report);
});

t.test("exit codes: a node is silent, the tag was never seen, nobody answers", async (t) => {
  let json: TagReport = { ...report, silentNodes: ["n2", "n3"] };
  const { url } = await startJsonServer(t, () => ({ json }));
  const silent = commandLine(["history", "team/app:1.0", "--ops", url.host]);
  t.equal(await silent.exit, 1);
  t.equal(silent.err(), "entrepot: without n2, n3: no answer from there\n");
  t.match(silent.out(), /to now/, "the rest is told");
  json = { ...report, stays: [] };
  const unseen = commandLine(["history", "team/app:1.0", "--ops", url.host]);
  t.equal(await unseen.exit, 1);
  t.equal(unseen.out(), "team/app:1.0 from hub: not seen here\n");
  const broken = await startJsonServer(t, () => ({ status: 500 }));
  t.equal(await commandLine(["history", "team/app:1.0", "--ops", broken.url.host]).exit, 2);
});
