// The Telegraf configuration against what the mirror really writes. Debian has no Telegraf: the file is read as the
// TOML it is, and its grok patterns are put together here as Telegraf puts them together.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { posix } from "node:path";
import t from "tap";
import { combinedLine } from "../../src/telemetry/lines/combined-log.ts";
import { influxFileName } from "../../src/telemetry/lines/influx-file.ts";
import { sampleDigest, sampleEvent } from "../fixtures/telemetry-samples.ts";

const file = new URL("../../deploy/telegraf/telegraf.conf", import.meta.url);
const text = readFileSync(file, "utf8");

/** Of the patterns Telegraf brings along, those the file uses. */
const builtIn: Readonly<Record<string, string>> = {
  NOTSPACE: "\\S+",
  WORD: "\\b\\w+\\b",
  INT: "[+-]?[0-9]+",
  NUMBER: "[+-]?(?:[0-9]+(?:\\.[0-9]+)?|\\.[0-9]+)",
  HTTPDATE: "\\d{2}/\\w{3}/\\d{4}:\\d{2}:\\d{2}:\\d{2} [+-]\\d{4}",
};

const custom = Object.fromEntries(
  (/grok_custom_patterns = '''\n([\s\S]*?)'''/.exec(text)?.[1] ?? "")
    .trim()
    .split("\n")
    .map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]),
) as Readonly<Record<string, string>>;

/** `%{NAME:field:type}` becomes a group called after the field. */
function expanded(pattern: string): string {
  return pattern.replaceAll(/%\{(\w+)(?::(\w+))?(?::[\w-]+)?\}/g, (_, name: string, field?: string) => {
    const inner = builtIn[name] ?? custom[name];
    if (inner === undefined) throw new Error(`no pattern is called ${name}`);
    return field === undefined ? `(?:${expanded(inner)})` : `(?<${field}>${expanded(inner)})`;
  });
}

const patterns = (/grok_patterns = \[(.*)\]/.exec(text)?.[1] ?? "")
  .split(",")
  .map((each) => new RegExp(expanded(each.trim().slice(1, -1))));

function read(line: string): Readonly<Record<string, string | undefined>> | undefined {
  for (const pattern of patterns) {
    const match = pattern.exec(line.trimEnd());
    if (match !== null) return match.groups;
  }
  return undefined;
}

t.test("it is TOML with the inputs it should have", async (t) => {
  const { status, stdout, error } = spawnSync(
    "python3",
    ["-c", "import sys,tomllib,json; print(json.dumps(tomllib.load(sys.stdin.buffer)))"],
    { input: text, encoding: "utf8" },
  );
  if (error !== undefined || status !== 0) {
    // A machine without Python 3.11 cannot tell; CI has it.
    t.not(process.env.CI, "true");
    return;
  }
  t.match(JSON.parse(stdout), {
    agent: { statefile: String },
    inputs: {
      tail: [{ data_format: "influx" }, { data_format: "grok", name_override: "access_log" }],
      prometheus: [{ urls: ["http://127.0.0.1:5001/metrics"], metric_version: 2 }],
    },
    outputs: { influxdb: [{ database: "entrepot" }] },
  });
});

t.test("the file being written is read, those set aside are not", async (t) => {
  const pattern = posix.basename(/files = \["([^"]+\.influx)"\]/.exec(text)?.[1] ?? "");
  const glob = new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
  t.match(influxFileName, glob);
  t.notMatch(`${influxFileName}.1`, glob);
});

t.test("every line of the combined log is taken apart", async (t) => {
  t.match(read(combinedLine(sampleEvent({ result: "miss", userAgent: 'a "b" c' }))), {
    client: "192.0.2.7",
    ts: "02/Jan/2026:03:04:05 +0000",
    method: "GET",
    project: "team",
    repo: "app",
    layer: sampleDigest,
    code: "200",
    bytes: "1000",
    user_agent: "a \\x22b\\x22 c",
    resp_time: "0.020",
    upstream_time: "0.003",
    result: "miss",
    id: "req-1",
  });
  const manifest = (path: string) => read(combinedLine(sampleEvent({ path })));
  t.match(manifest("/v2/a/b/c/manifests/v1.0"), {
    project: "a",
    repo: "b/c",
    reference: "v1.0",
    upstream_time: undefined,
  });
  t.match(manifest("/hub/v2/alone/manifests/v1.0"), { project: "alone", repo: undefined, reference: "v1.0" });
  t.match(manifest("/v2/a/manifests/1"), { user: undefined });
  for (const path of ["/v2/a/manifests/1", `/v2/a/blobs/${sampleDigest}`, "/v2/"])
    t.match(read(combinedLine(sampleEvent({ path, user: "a b" }))), { user: "a\\x20b", code: "200" });
  t.match(manifest("/v2/"), { uri: "/v2/", project: undefined });
  t.match(manifest('/v2/ "odd"'), { uri: "/v2/\\x20\\x22odd\\x22" });
  t.match(read(combinedLine(sampleEvent({ method: "", path: "", status: 499, userAgent: undefined }))), {
    method: "-",
    uri: "-",
    code: "499",
  });
});
