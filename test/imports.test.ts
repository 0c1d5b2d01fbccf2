// The rules of the sources (docs/design.md, "Parts"), and the proof that their checker sees what breaks them.
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import t from "tap";
import { brokenRules } from "./fixtures/source-rules.ts";
import { codeOf, importsOf } from "./fixtures/source-scan.ts";

const src = join(import.meta.dirname, "../src");

function readSources(): Map<string, string> {
  const entries = readdirSync(src, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    paths
      .filter((path) => path.endsWith(".ts"))
      .map((path) => [relative(src, path).replaceAll(sep, "/"), readFileSync(path, "utf8")]),
  );
}

t.test("the sources keep the rules", (t) => {
  const sources = readSources();
  t.ok(sources.has("ports/event.ts"), "reads the real tree");
  t.strictSame(brokenRules(sources), []);
  t.end();
});

t.test("the scanner sees the imports of the real tree", (t) => {
  const text = readFileSync(join(src, "telemetry/metrics/prometheus.ts"), "utf8");
  t.ok(importsOf(text).some(({ specifier, typeOnly }) => specifier === "../../ports/event.ts" && typeOnly));
  t.ok(importsOf(text).some(({ specifier, typeOnly }) => specifier === "./gauges.ts" && !typeOnly));
  t.end();
});

const a = "export const a = 1;";

t.test("what breaks a rule is found", (t) => {
  const cases: readonly { name: string; files: Record<string, string>; broken: readonly string[] }[] = [
    {
      name: "http on storage",
      files: { "http/send.ts": 'import { a } from "../storage/disk.ts";', "storage/disk.ts": a },
      broken: ["http/send.ts may not import storage/disk.ts"],
    },
    {
      name: "http on upstream, by types, over several lines",
      files: {
        "http/send.ts": 'import type {\n  A,\n  B\n} from "../upstream/client.ts";',
        "upstream/client.ts": a,
      },
      broken: ["http/send.ts may not import upstream/client.ts"],
    },
    {
      name: "cache on http, by export from",
      files: { "cache/fill.ts": 'export { a } from "../http/send.ts";', "http/send.ts": a },
      broken: ["cache/fill.ts may not import http/send.ts"],
    },
    {
      name: "storage on upstream, by a dynamic import",
      files: {
        "storage/disk.ts": 'const x = await import("../upstream/client.ts");',
        "upstream/client.ts": a,
      },
      broken: ["storage/disk.ts may not import upstream/client.ts"],
    },
    {
      name: "upstream on storage, for its side effects",
      files: { "upstream/client.ts": 'import "../storage/disk.ts";', "storage/disk.ts": a },
      broken: ["upstream/client.ts may not import storage/disk.ts"],
    },
    {
      name: "storage on the cache's insides, by export star",
      files: { "storage/disk.ts": 'export * as f from "../cache/fill.ts";', "cache/fill.ts": a },
      broken: ["storage/disk.ts may not import cache/fill.ts"],
    },
    {
      name: "upstream on values of the configuration",
      files: { "upstream/client.ts": 'import { a } from "../config/config.ts";', "config/config.ts": a },
      broken: ["upstream/client.ts may import only types from config/config.ts"],
    },
    {
      name: "cache on the sinks of telemetry",
      files: {
        "cache/fill.ts": 'import { a } from "../telemetry/metrics/prometheus.ts";',
        "telemetry/metrics/prometheus.ts": a,
      },
      broken: ["cache/fill.ts may not import telemetry/metrics/prometheus.ts"],
    },
    {
      name: "the SDK of OpenTelemetry, itself or by a file that has it",
      files: {
        "app/otel.ts":
          'import { trace } from "@opentelemetry/api";\nimport { a } from "../telemetry/otel/create-otel.ts";\nimport { a as b } from "../telemetry/otel/open-otel.ts";',
        "telemetry/otel/create-otel.ts": 'import { trace } from "@opentelemetry/api";',
        "telemetry/otel/open-otel.ts": a,
      },
      broken: [
        "app/otel.ts imports the SDK of OpenTelemetry",
        "app/otel.ts may load the SDK of OpenTelemetry by open-otel.ts alone",
      ],
    },
    {
      name: "oci on anything",
      files: { "oci/digest.ts": 'import type { A } from "../telemetry/event.ts";', "telemetry/event.ts": a },
      broken: ["oci/digest.ts may not import telemetry/event.ts"],
    },
    {
      name: "a computed import, a missing file, an unknown part",
      files: {
        "cache/fill.ts": 'await import(name);\nimport { b } from "./gone.ts";',
        "shop/till.ts": 'import { a } from "../oci/digest.ts";',
        "oci/digest.ts": a,
      },
      broken: [
        "cache/fill.ts imports a computed name",
        "cache/fill.ts imports cache/gone.ts, which is not there",
        "shop/till.ts is in no known part",
      ],
    },
    {
      name: "a cycle of three files",
      files: {
        "cache/b.ts": 'import { c } from "./c.ts";',
        "cache/c.ts": 'import type { A } from "./a.ts";',
        "cache/a.ts": 'import { b } from "./b.ts";',
      },
      broken: ["cycle: cache/a.ts -> cache/b.ts -> cache/c.ts -> cache/a.ts"],
    },
    {
      name: "default exports",
      files: {
        "oci/a.ts": "export default function f() {}",
        "oci/b.ts": "const b = 1;\nexport { b as default };",
      },
      broken: ["oci/a.ts has a default export", "oci/b.ts has a default export"],
    },
    {
      name: "process, in every way to say it",
      files: {
        "oci/a.ts": "const x = process.env;",
        "oci/b.ts": 'import { env } from "node:process";',
        "oci/c.ts": "const { env } = globalThis.process;",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: the source of a template
        "oci/d.ts": "const s = `pid ${process.pid}`;",
        "main.ts": "process.exitCode = 1;",
      },
      broken: [
        "oci/a.ts names process",
        "oci/b.ts imports process",
        "oci/c.ts names process",
        "oci/d.ts names process",
      ],
    },
    {
      name: "streams joined without care",
      files: { "http/a.ts": "source.pipe(sink);", "http/b.ts": "const [x, y] = body.tee();" },
      broken: ["http/a.ts calls .pipe()", "http/b.ts calls tee()"],
    },
    {
      name: "a folder with more files than one takes in",
      files: {
        ...Object.fromEntries(Array.from({ length: 25 }, (_, at) => [`cache/a${at}.ts`, a])),
        ...Object.fromEntries(Array.from({ length: 24 }, (_, at) => [`cache/fill/a${at}.ts`, a])),
      },
      broken: ["cache holds 25 files: at most 24"],
    },
    {
      name: "names",
      files: { "http/utils.ts": a, "oci/index.ts": a, "oci/mediaType.ts": a, "cache/common.ts": a },
      broken: [
        "cache/common.ts is not named for a thing",
        "http/utils.ts is not named for a thing",
        "oci/index.ts is not named for a thing",
        "oci/mediaType.ts is not in kebab case",
      ],
    },
  ];
  for (const { name, files, broken } of cases)
    t.strictSame(brokenRules(new Map(Object.entries(files))), [...broken].sort(), name);
  t.end();
});

t.test("what keeps the rules is let through", (t) => {
  const files = {
    "app.ts": 'import { a } from "./upstream/client.ts";\nimport { b } from "./storage/disk.ts";',
    "main.ts": 'import { a } from "./cli/serve.ts";\nprocess.exit();',
    "cli/serve.ts":
      'import { a } from "../app.ts";\nimport about from "../../package.json" with { type: "json" };',
    "config/config.ts": a,
    "oci/digest.ts": `// import { a } from "../http/send.ts"\n${a}\nconst s = "process.env .pipe( tee(";`,
    "storage/disk.ts": 'import { a } from "../oci/digest.ts";\nimport { createHash } from "node:crypto";',
    "upstream/client.ts":
      'import type { A } from "../config/config.ts";\nthis.process(); const r = /process.pipe(/;',
  };
  t.strictSame(brokenRules(new Map(Object.entries(files))), []);
  t.end();
});

t.test("the scanner tells code from what only looks like it", (t) => {
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: sources of templates
  const sources: readonly [string, string][] = [
    ['a("b // c") // d', 'a("      ")     '],
    ["/* a\nb */ c", "    \n     c"],
    ["'it\\'s' + x", "'     ' + x"],
    ["`a ${b + `c ${d}` } e` + f", "`  ${b + `  ${d}` }  ` + f"],
    ['x = /[/"]/g.test(y) ? 4 / 2 : z / 3', "x = /    /g.test(y) ? 4 / 2 : z / 3"],
    ["`${{ a: 1 }.a}` + process", "`${{ a: 1 }.a}` + process"],
    ['"unfinished\nx', '"         d\nx'],
  ];
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: sources of templates
  for (const [text, code] of sources) {
    t.equal(codeOf(text), code, text);
    t.equal(codeOf(text).length, text.length);
  }
  t.end();
});
