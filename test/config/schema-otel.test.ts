import t from "tap";
import { renderConfig } from "../../src/config/print.ts";
import { configOf, loadedFrom, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const files = { "/token": "Bearer hunter2\n" };

function otel(inside: string, env = {}) {
  return { yaml: `otel: {${inside}}`, env: { ...upstreamUrl, ...env }, files };
}

t.test("without an endpoint nothing is sent, whatever else is set", (t) => {
  t.equal(configOf({ env: upstreamUrl }).otel, undefined);
  t.equal(configOf(otel("sampleRatio: 10%")).otel, undefined);
  t.end();
});

t.test("the defaults, and everything", async (t) => {
  const least = configOf({
    env: { ...upstreamUrl, ENTREPOT_OTEL_ENDPOINT: "http://collector.example.com:4318/" },
  });
  t.strictSame(least.otel, {
    endpoint: "http://collector.example.com:4318",
    protocol: "http/protobuf",
    headers: [],
    traces: true,
    sampleRatio: 1,
    queue: 2048,
    delay: 5_000,
    metrics: true,
    interval: 60_000,
  });
  const { otel: all } = configOf(
    otel(
      `endpoint: "https://collector.example.com/otlp", protocol: http/json, headers: {X-A: one}, headerFiles: {Authorization: /token},
       timeout: 2s, traces: false, sampleRatio: 2.5%, queue: 10, delay: 1s, metrics: false, interval: 10s`,
    ),
  );
  t.match(all, {
    endpoint: "https://collector.example.com/otlp",
    protocol: "http/json",
    timeout: 2_000,
    traces: false,
    sampleRatio: 0.025,
    queue: 10,
    delay: 1_000,
    metrics: false,
    interval: 10_000,
  });
  const sent = all?.headers.map(async ({ name, value }) => [name, (await value.read()).reveal()]);
  t.strictSame(await Promise.all(sent ?? []), [
    ["X-A", "one"],
    ["Authorization", "Bearer hunter2"],
  ]);
  t.equal(configOf(otel("endpoint: Environment")).otel?.endpoint, "environment");
});

t.test("what cannot be is refused, and no header is printed", (t) => {
  const cases: Readonly<Record<string, RegExp>> = {
    "endpoint: collector:4318": /otel\.endpoint .*expected an http or https URL/,
    "endpoint: 'http://me:hunter2@collector.example.com'":
      /no credentials in the URL: they belong in headers/,
    "endpoint: environment, protocol: grpc": /otel\.protocol .*expected one of http\/protobuf, http\/json/,
    "endpoint: environment, queue: 0": /otel\.queue .*from 1 to 100000/,
    "endpoint: environment, interval: 1ms": /otel\.interval/,
    "endpoint: environment, headers: {a: b}, headerFiles: {A: /token}": /found this header twice/,
  };
  for (const [inside, expected] of Object.entries(cases)) {
    const problems = problemsOf(otel(inside)).join("\n");
    t.match(problems, expected, inside);
    t.notMatch(problems, /hunter2/);
  }
  const printed = renderConfig(
    loadedFrom(otel("endpoint: environment, headers: {Authorization: hunter2}, headerFiles: {X-A: /token}")),
  );
  t.match(printed, /headers: not shown \(Authorization\)/);
  t.notMatch(printed, /hunter2/);
  t.end();
});
