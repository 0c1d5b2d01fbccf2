import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { Health } from "../../../src/ops/health.ts";
import { createOpsListener } from "../../../src/ops/listener.ts";
import { createStatsPages, type StatsPagesOptions } from "../../../src/ops/stats/stats-pages.ts";
import { createLogger } from "../../../src/telemetry/lines/json-log.ts";
import { fullExplanation, sampleDatacenterSavings, sampleDocument } from "../../fixtures/stats-samples.ts";
import { rememberingOutput } from "../../fixtures/telemetry-samples.ts";

async function start(
  t: Test,
  changes: Partial<StatsPagesOptions> = {},
  more: Partial<Parameters<typeof createOpsListener>[0]> = {},
) {
  const output = rememberingOutput();
  const stats = createStatsPages({
    document: () => sampleDocument(),
    explain: async () => fullExplanation("team/app"),
    savings: async (month) => sampleDatacenterSavings(month),
    ...changes,
  });
  const listener = createOpsListener({
    health: new Health(),
    metrics: { contentType: "text/plain", render: async () => "" },
    log: createLogger("info", output).logger,
    stats,
    ...more,
  });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.teardown(() => listener.close());
  const open = async (path: string, headers: Record<string, string> = {}, method = "GET") => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false }).end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    return response;
  };
  const ask = async (...question: Parameters<typeof open>) => {
    const response = await open(...question);
    return { status: response.statusCode, headers: response.headers, body: await text(response) };
  };
  return { listener, stats, lines: output.lines, open, ask };
}

t.test("the page comes with a strict policy and nothing to be cached", async (t) => {
  const { ask } = await start(t);
  const { status, headers, body } = await ask("/");
  t.equal(status, 200);
  t.match(headers, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'/,
  });
  t.match(body, /^<!doctype html>\n<html lang="en">/);
  t.match(await ask("/", {}, "HEAD"), { status: 200, body: "", headers: { "content-length": /^\d+$/ } });
});

t.test(
  "below a path: requests come with it or without, and the page knows the one that counts",
  async (t) => {
    const forwardedPrefix = ({ headers }: IncomingMessage) =>
      headers["x-forwarded-prefix"] as string | undefined;
    const { ask } = await start(t, {}, { basePath: () => "/ops", forwardedPrefix });
    for (const path of ["/", "/ops", "/ops/", "/ops/?explain=a"])
      t.match((await ask(path)).body, /href="\/ops\/page\/page\.css"/, path);
    t.match((await ask("/", { "x-forwarded-prefix": "/far" })).body, /href="\/far\/page\/page\.css"/);
    for (const path of ["/ops/stats.json", "/stats.json", "/ops/page/page.css", "/ops/readyz", "/ops/livez"])
      t.not((await ask(path)).status, 404, path);
    t.equal((await ask("/opsstats.json")).status, 404);
    t.equal((await ask("/ops/ops/stats.json")).status, 404);
  },
);

t.test("/stats.json is the document", async (t) => {
  const { ask } = await start(t);
  const { headers, body } = await ask("/stats.json");
  t.equal(headers["content-type"], "application/json");
  t.match(JSON.parse(body), { schema: 1, verdict: { level: "ok" }, node: { version: "1.2.3" } });
});

t.test("files are cached, compared by their tag, and packed for those who can", async (t) => {
  const { ask, open } = await start(t);
  const plain = await ask("/page/uplot.js");
  t.match(plain.headers, { "cache-control": "max-age=300", vary: "accept-encoding", etag: /^"[\w-]{22}"$/ });
  const packed = await open("/page/uplot.js", { "accept-encoding": "br, gzip" });
  t.equal(packed.headers["content-encoding"], "gzip");
  const chunks: Buffer[] = await packed.toArray();
  t.equal(gunzipSync(Buffer.concat(chunks)).toString(), plain.body);
  const again = await ask("/page/uplot.js", { "if-none-match": plain.headers.etag as string });
  t.match(again, { status: 304, body: "" });
  for (const path of [
    "/page/",
    "/page/none.js",
    "/page/../page.css",
    "/page/%70age.css",
    "/stats",
    "/__proto__",
  ])
    t.equal((await ask(path)).status, 404, path);
});

t.test("the box: what was typed is asked, cut, and shown again", async (t) => {
  const asked: string[] = [];
  const { ask } = await start(t, {
    explain: async (reference) => {
      asked.push(reference);
      return fullExplanation("here");
    },
  });
  const { body } = await ask("/?explain=%20team%2Fapp%3A1%3Cb%3E");
  t.match(body, /value="team\/app:1&lt;b&gt;"/);
  t.match(body, /id="explanation"[^>]*><div>/);
  t.match(JSON.parse((await ask("/explain.json?reference=team/app@sha256:1")).body), { kind: "explained" });
  await ask(`/explain.json?reference=${"x".repeat(5000)}`);
  await ask("/explain.json");
  await ask("/?explain=");
  t.strictSame(asked, ["team/app:1<b>", "team/app@sha256:1", "x".repeat(500), ""]);
});

t.test("what was saved as CSV, of a month that can be read, and who has not told", async (t) => {
  const asked: (string | undefined)[] = [];
  const { ask } = await start(t, {
    savings: async (month) => {
      asked.push(month);
      return sampleDatacenterSavings(month, month === "all" ? ["b"] : []);
    },
  });
  const csv = await ask("/savings.csv?month=2026-10");
  t.equal(csv.headers["content-type"], "text/csv; charset=utf-8");
  t.equal(csv.headers.warning, undefined);
  t.equal(csv.body.split("\r\n").length, 4, "the names, two rows, and an end");
  const partly = await ask("/savings.csv?month=all");
  t.equal(partly.headers.warning, '199 - "without what 1 nodes that did not answer have saved"');
  await ask("/savings.csv");
  t.same(asked, ["2026-10", "all", undefined]);
  for (const path of ["/savings.csv?month=2026-13", "/savings.csv?month="])
    t.match(await ask(path), { status: 400, body: "month: expected one like 2026-11, or all\n" }, path);
});

t.test("a document that cannot be made is a 500 and a line", async (t) => {
  const { ask, lines } = await start(t, {
    document: () => {
      throw new Error("no index");
    },
  });
  t.match(await ask("/stats.json"), { status: 500, body: /the log tells why/ });
  t.match(await ask("/"), { status: 500 });
  t.equal(lines.length, 2);
});

t.test("other methods are 405; unknown paths name what there is", async (t) => {
  const { ask } = await start(t);
  const own = { "x-entrepot-request": "1" };
  t.match(await ask("/", own, "POST"), { status: 405, headers: { allow: "GET, HEAD" } });
  t.match(await ask("/stats/events", {}, "HEAD"), { status: 200, body: "" });
  t.equal(
    (await ask("/nothing")).body,
    "here are: / /jobs /stats.json /explain.json /savings.csv /stats/events /livez /readyz /healthz /metrics\n",
  );
});

t.test("the listener's end ends the streams, without waiting for time-outs", async (t) => {
  const { open, listener } = await start(t);
  const response = await open("/stats/events");
  const rest = text(response);
  await listener.close();
  t.match(await rest, /^retry: 3000\nid: 1\ndata: \{"schema":1,.*\n\nid: 2\ndata: .*\n\n$/);
});
