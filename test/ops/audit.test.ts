// The line for each request that asks for a change: what it says, and what it never says.
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { Health } from "../../src/ops/health.ts";
import { createOpsListener, type OpsListenerOptions } from "../../src/ops/listener.ts";
import { WebhookReceiver } from "../../src/ops/webhooks/webhook-receiver.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { createLogger } from "../../src/telemetry/lines/json-log.ts";
import { createMetrics } from "../../src/telemetry/metrics/prometheus.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { rememberingOutput, sampleGauges } from "../fixtures/telemetry-samples.ts";

const secret = "a-secret-of-the-hooks";
const json = { "content-type": "application/json" };

async function start(t: Test, changes: Partial<OpsListenerOptions> = {}) {
  const output = rememberingOutput();
  const listener = createOpsListener({
    health: new Health(),
    metrics: createMetrics({ gauges: sampleGauges(), upstreams: ["hub"], version: "1" }),
    log: createLogger("info", output).logger,
    webhooks: new WebhookReceiver({
      secrets: () => ({ generic: fixedSecret(new Secret(secret)) }),
      upstreams: () => ["hub"],
      target: () => ({ changed: async ({ repository }) => repository === "team/app" }),
      notices: () => {},
    }),
    ...changes,
  });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.teardown(() => listener.close());
  const audits = (): Record<string, unknown>[] => output.lines.filter(({ event }) => event === "audit");
  const send = async (method: string, path: string, headers: Record<string, string> = {}, body = "") => {
    const before = audits().length;
    const asked = httpRequest({ host: "127.0.0.1", port, path, method, headers, agent: false }).end(body);
    const [response] = await once(asked, "response");
    await text(response);
    if (method !== "GET" && method !== "HEAD") await eventually("it is told", () => audits().length > before);
    return audits().at(-1);
  };
  return { send, audits, lines: output.lines };
}

t.test("a webhook: who sent it, what it is about and what came of it", async (t) => {
  const { send, lines } = await start(t);
  const body = JSON.stringify({ repository: "team/app", tag: "1.0", action: "push" });
  t.match(await send("POST", `/hooks/generic?secret=${secret}`, json, body), {
    level: "info",
    event: "audit",
    msg: "a change was asked for",
    who: "webhook:generic",
    client: "127.0.0.1",
    method: "POST",
    path: "/hooks/generic",
    status: 202,
    outcome: "applied",
    about: ["team/app:1.0"],
  });
  const other = body.replace("team/app", "team/other");
  t.match(await send("POST", "/hooks/generic", { authorization: `Bearer ${secret}` }, other), {
    outcome: "ignored",
    about: ["team/other:1.0"],
  });
  const refused = await send("POST", "/hooks/generic?secret=a-guess-of-somebody", json, body);
  t.match(refused, { status: 401, outcome: "refused" });
  t.notOk(
    refused !== undefined && ("who" in refused || "about" in refused),
    "nobody has proved to be anybody",
  );
  t.notMatch(JSON.stringify(lines), /a-secret-of-the-hooks|a-guess-of/);
});

t.test("everything else that asks for a change, by whoever it is", async (t) => {
  const access = {
    username: undefined,
    password: fixedSecret(new Secret("ops-password")),
    token: fixedSecret(new Secret("ops-token-0123456789")),
  };
  const { send, lines } = await start(t, { access: () => access });
  const basic = { authorization: `Basic ${Buffer.from("anna:ops-password").toString("base64")}` };
  t.match(await send("DELETE", "/api/v1/tags/x?token=query-secret", { ...json, ...basic }), {
    who: "ops:anna",
    method: "DELETE",
    path: "/api/v1/tags/x",
    status: 404,
    outcome: "failed",
  });
  const bearer = { authorization: "Bearer ops-token-0123456789" };
  t.match(await send("POST", "/api/v1/x", { ...json, ...bearer }), { who: "token" });
  const wrong = { authorization: `Basic ${Buffer.from("anna:guess").toString("base64")}` };
  const refused = await send("POST", "/api/v1/x", { ...json, ...wrong });
  t.match(refused, { status: 401, outcome: "refused" });
  t.notOk(refused !== undefined && "who" in refused, "a name without its password is nobody's");
  t.notMatch(JSON.stringify(lines), /ops-password|ops-token|guess|query-secret/);
});

t.test("on this machine without a password it is local; what changes nothing has no line", async (t) => {
  const { send, audits } = await start(t);
  await send("GET", "/livez");
  await send("HEAD", "/metrics");
  await send("GET", "/nothing");
  t.same(audits(), []);
  t.match(await send("PUT", "/nothing", json), { who: "local", status: 404 });
  t.match(await send("POST", "/metrics", json), { status: 405, outcome: "failed" });
  t.equal(audits().length, 2);
});
