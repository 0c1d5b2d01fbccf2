import t, { type Test } from "tap";
import { createApi } from "../../../src/ops/api/api.ts";
import { Health } from "../../../src/ops/health.ts";
import { JobsApi } from "../../../src/ops/jobs/jobs-api.ts";
import { createOpsListener, type OpsListenerOptions } from "../../../src/ops/listener.ts";
import { nodeSummary } from "../../../src/ops/stats/node-summary.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { createLogger } from "../../../src/telemetry/lines/json-log.ts";
import { fullExplanation, sampleDatacenterSavings, sampleDocument } from "../../fixtures/stats-samples.ts";
import { rememberingOutput } from "../../fixtures/telemetry-samples.ts";

const begin = async () => undefined;

async function start(t: Test, changes: Partial<OpsListenerOptions> = {}, stats = () => sampleDocument()) {
  const node = () => nodeSummary(stats(), undefined);
  const asked: string[] = [];
  const api = createApi({
    version: "1.2.3",
    node,
    datacenter: () => stats().datacenter,
    stats,
    explain: async (reference) => {
      asked.push(reference);
      if (reference !== "wrong") return fullExplanation("x");
      return { schema: 1, kind: "unreadable", reference, reason: "expected something else" };
    },
    readiness: async (days) =>
      days === 365
        ? undefined
        : {
            ...{ schema: 1, at: 1000, days, nodes: 1, pulled: 0, ready: 0 },
            ...{ truncated: false, silentNodes: [], unready: [] },
          },
    savings: async (month) => sampleDatacenterSavings(month),
    tagReport: async (reference) => {
      asked.push(reference);
      if (reference === "wrong") return { problem: "expected something else" };
      return {
        ...{ schema: 1, at: 1000, upstream: "hub", repository: "team/app", tag: "1.0" },
        ...{ stays: [], silentNodes: [] },
      };
    },
  });
  const listener = createOpsListener({
    health: new Health(),
    metrics: { contentType: "text/plain", render: async () => "" },
    log: createLogger("info", rememberingOutput()).logger,
    api,
    changing: [new JobsApi({ jobs: { list: () => [], get: () => undefined, cancel: () => false }, begin })],
    ...changes,
  });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.teardown(() => listener.close());
  const ask = async (path: string, options: RequestInit = {}) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, options);
    const { status, headers } = answer;
    return { status, headers, type: headers.get("content-type"), body: await answer.json() };
  };
  return { ask, asked };
}

t.test("what was wrong is said as JSON, whoever refuses", async (t) => {
  const { ask, asked } = await start(t);
  const cases = [
    ["/api/v1/nothing", 404, "not_found", /^here are: \/api\/v1\/openapi\.json /],
    ["/api/", 404, "not_found", / \/api\/v1\/jobs \/api\/v1\/jobs\/ID$/],
    ["/api", 404, "not_found", /here are/],
    ["/api/v1/__proto__", 404, "not_found", /here are/],
    ["/api/v1/why", 400, "bad_request", /reference= is missing/],
    ["/api/v1/why?reference=%20", 400, "bad_request", /reference= is missing/],
    ["/api/v1/why?reference=wrong", 400, "bad_request", /^reference "wrong": expected something else$/],
    ["/api/v1/readiness", 400, "bad_request", /^days: expected a whole number/],
    ["/api/v1/readiness?days=366", 400, "bad_request", /from 1 to 365/],
    ["/api/v1/savings?month=", 400, "bad_request", /^month: expected one like 2026-11, or all$/],
    ["/api/v1/savings?month=2026-13", 400, "bad_request", /^month: expected/],
    [`/api/v1/why?reference=${"x".repeat(501)}`, 400, "bad_request", /longer than 500/],
  ] as const;
  for (const [path, status, code, message] of cases) {
    const answer = await ask(path);
    t.match(answer, { status, type: "application/json", body: { error: { code, message } } }, path);
  }
  t.same(asked, ["wrong"]);
  t.match(await ask("/api/v1/why?reference=team%2Fapp%3A1.0"), { status: 200, body: { kind: "explained" } });
  t.same(asked.at(-1), "team/app:1.0");
  t.match(await ask("/api/v1/readiness?days=30"), { status: 200, body: { days: 30 } });
  t.match(await ask("/api/v1/savings"), { status: 200, body: { month: "2026-11" } });
  t.match(await ask("/api/v1/savings?month=all"), { status: 200, body: { month: "all" } });
  const busy = await ask("/api/v1/readiness?days=365");
  t.match(busy, { status: 503, body: { error: { code: "unavailable", message: /ask again/ } } });
  t.equal(busy.headers.get("retry-after"), "10");
  const put = await ask("/api/v1/node", { method: "PUT" });
  t.match(put, { status: 403, body: { error: { code: "forbidden", message: /content-type/ } } });
  const told = await ask("/api/v1/node", { method: "PUT", headers: { "content-type": "application/json" } });
  t.match(told, { status: 405, body: { error: { code: "method_not_allowed" } } });
});

t.test("the password of the listener is the API's, and its failure is one", async (t) => {
  const access = { username: undefined, password: fixedSecret(new Secret("hunter2")), token: undefined };
  const { ask } = await start(t, { access: () => access });
  const refused = await ask("/api/v1/node");
  t.match(refused, { status: 401, body: { error: { code: "unauthorized", message: /password/ } } });
  t.match(refused.headers.get("www-authenticate"), /^Basic /);
  const authorization = `Basic ${Buffer.from("ann:hunter2").toString("base64")}`;
  t.match(await ask("/api/v1/node", { headers: { authorization } }), {
    status: 200,
    body: { name: "node-1" },
  });
  const broken = await start(t, {}, () => {
    throw new Error("the index is gone");
  });
  const failed = await broken.ask("/api/v1/stats");
  t.match(failed, { status: 500, body: { error: { code: "failed", message: /the log tells why/ } } });
});

t.test("below a path that a proxy serves", async (t) => {
  const { ask } = await start(t, { basePath: () => "/ops" });
  for (const path of ["/ops/api/v1/node", "/api/v1/node"]) t.equal((await ask(path)).status, 200, path);
});

t.test("a page of another site has no answer made", async (t) => {
  const { ask, asked } = await start(t);
  const path = "/api/v1/why?reference=team%2Fapp";
  for (const site of ["cross-site", "same-site"])
    t.match(await ask(path, { headers: { "sec-fetch-site": site } }), {
      status: 403,
      body: { error: { code: "forbidden", message: /another site/ } },
    });
  t.strictSame(asked, []);
  for (const site of ["same-origin", "none"])
    t.equal((await ask(path, { headers: { "sec-fetch-site": site } })).status, 200, site);
});
