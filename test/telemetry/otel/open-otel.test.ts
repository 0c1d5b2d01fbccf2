// The SDK of OpenTelemetry is loaded when it is configured, and not before; without it nothing but that fails.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";

function load(how: "unused" | "missing") {
  const program = join(import.meta.dirname, "../../fixtures/otel-loading.ts");
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { stdout, stderr } = spawnSync(process.execPath, [program, how], { encoding: "utf8", env });
  try {
    return JSON.parse(stdout) as { asked: string[]; statuses: number[]; failure: string };
  } catch {
    throw new Error(`it printed ${stdout}${stderr}`);
  }
}

t.test("without otel nothing of OpenTelemetry is loaded", async (t) => {
  t.strictSame(load("unused"), { asked: [], statuses: [200, 200], failure: "" });
});

t.test("without the packages the start says what to do", async (t) => {
  const { asked, statuses, failure } = load("missing");
  t.ok(asked.length > 0);
  t.strictSame(statuses, []);
  t.match(
    failure,
    /^Error: otel\.endpoint is set, but the packages of OpenTelemetry are not installed: npm ci --include=optional/,
  );
});
