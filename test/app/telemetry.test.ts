// The parts of telemetry together, behind a whole mirror: each tells the same story, and none can harm a request.

import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { parseExposition } from "../fixtures/exposition.ts";
import { makeImage } from "../fixtures/images.ts";
import { parseLines } from "../fixtures/line-protocol.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [200_000, 5_000_000] });
const [small, large] = image.layers as [(typeof image.layers)[0], (typeof image.layers)[0]];
const blob = (digest: string): string => `/v2/team/app/blobs/${digest}`;

/** Requests of every kind and with every end; gives how many were asked. */
async function mixedLoad(mirror: Mirror, upstream: ScriptedUpstream): Promise<number> {
  let asked = 0;
  const ask = (method: string, path: string, headers: Record<string, string> = {}) => {
    asked++;
    return mirror.ask(method, path, headers);
  };
  await Promise.all(Array.from({ length: 20 }, () => ask("GET", blob(large.digest))));
  for (let round = 0; round < 10; round++) {
    await Promise.all([
      ask("GET", "/v2/team/app/manifests/1"),
      ask("HEAD", "/v2/team/app/manifests/1"),
      ask("GET", `/v2/team/app/manifests/${image.digest}`),
      ask("GET", blob(small.digest)),
      ask("HEAD", blob(small.digest)),
      ask("GET", blob(small.digest), { range: "bytes=10-19", "user-agent": 'a "b"\\' }),
      ask("GET", blob(`sha256:${"0".repeat(64)}`)),
      ask("GET", "/v2/other/app/manifests/none"),
      ask("GET", "/v2/UPPER/manifests/1"),
      ask("GET", "/v2/team/app/tags/list"),
      ask("GET", `/v2/team/app/referrers/${image.digest}`),
      ask("GET", "/v2/_catalog"),
      ask("GET", "/v2/"),
      ask("GET", "/favicon.ico"),
      ask("PUT", "/v2/team/app/manifests/2"),
      ask("OPTIONS", "/v2/team/app/manifests/2"),
    ]);
  }
  // Probes are in a counter of their own, and in nothing else.
  await mirror.get("/readyz");
  const heal = upstream.fault(() => ({ status: 500 }));
  for (let i = 0; i < 5; i++) await ask("GET", `/v2/team/app/manifests/failing-${i}`);
  heal();
  await leave(mirror, blob(large.digest));
  asked++;
  await mirror.raw("no HTTP at all\r\n\r\n");
  return asked;
}

/** Asks, and goes away at the first byte. */
function leave(mirror: Mirror, path: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(Number(mirror.url.port), mirror.url.hostname, () =>
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`),
    );
    socket.once("data", () => socket.destroy());
    socket.once("close", () => resolve());
  });
}

async function metricsOf(mirror: Mirror) {
  const text = await (await fetch(new URL("/metrics", mirror.ops))).text();
  const families = parseExposition(text);
  return (name: string, labels: Readonly<Record<string, string>> = {}): number =>
    (families.get(name)?.samples ?? [])
      .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
      .reduce((sum, { value }) => sum + value, 0);
}

t.test("metrics, log and points of a mixed load add up to the same", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const directory = t.testdir();
  const mirror = await startMirror(t, upstream, {
    cache: { dir: join(directory, "cache") },
    influx: { dir: join(directory, "influx"), maxFileSize: 1e9, keep: 1 },
  });
  const asked = await mixedLoad(mirror, upstream);
  const requests = () => mirror.lines.filter(({ msg, path }) => msg === "request" && path !== "/readyz");
  await mirror.line(() => requests().length >= asked);
  const sum = await metricsOf(mirror);
  await mirror.app.stop();
  const points = parseLines(await readFile(join(directory, "influx", "entrepot.influx"), "utf8"));
  const access = points.filter(({ measurement }) => measurement === "registry_access");
  const origin = points.filter(({ measurement }) => measurement === "request_origin");

  t.equal(sum("entrepot_requests_total"), asked);
  t.equal(sum("entrepot_http_requests_total"), asked);
  t.equal(requests().length, asked);
  t.equal(access.length, asked);
  const seen = new Set(requests().map(({ result }) => String(result)));
  for (const result of ["hit", "miss", "joined", "error", "aborted"]) t.ok(seen.has(result), result);
  for (const result of seen) {
    const lines = requests().filter((line) => line.result === result).length;
    t.equal(sum("entrepot_requests_total", { result }), lines, `metrics: ${result}`);
    t.equal(access.filter(({ tags }) => tags.result === result).length, lines, `points: ${result}`);
    t.equal(origin.filter(({ tags }) => tags.result === result).length, result === "hit" ? 0 : lines);
  }
  const bytes = requests().reduce((total, line) => total + Number(line.bytes), 0);
  t.equal(sum("entrepot_response_bytes_total"), bytes);
  t.equal(
    access.reduce((total, { fields }) => total + Number(fields.bytes), 0),
    bytes,
  );
  t.equal(
    sum("registry_proxy_hits_total") + sum("registry_proxy_misses_total"),
    sum("registry_proxy_requests_total"),
  );
  const pulled = upstream.requests.filter(({ kind }) => kind === "blob" || kind === "manifest");
  t.equal(
    sum("registry_proxy_pulled_bytes_total", { type: "blob" }),
    pulled
      .filter(({ kind, status }) => kind === "blob" && status === 200)
      .reduce((n, each) => n + each.bytes, 0),
  );
  t.equal(sum("entrepot_telemetry_lost_total"), 0);
});

t.test("sinks that throw cost nobody anything: the answers come, the other sinks hear of them", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const heard: string[] = [];
  const throws = (): never => {
    throw new Error("a bug");
  };
  const mirror = await startMirror(t, upstream, {
    sinks: [
      { name: "health", onEvent: throws, onNotice: throws },
      { name: "last", onEvent: ({ path }) => heard.push(path) },
    ],
  });
  for (const path of ["/v2/team/app/manifests/1", blob(small.digest), blob(small.digest)]) {
    const answer = await mirror.get(path);
    t.equal(answer.status, 200);
    t.ok(answer.complete);
    await mirror.line((line) => line.path === path);
  }
  t.strictSame(heard, ["/v2/team/app/manifests/1", blob(small.digest), blob(small.digest)]);
  t.match(await mirror.line(({ sink }) => sink === "health"), { level: "error", err: { message: "a bug" } });
  t.equal(mirror.lines.filter(({ sink }) => sink === "health").length, 1, "one line for all of it");
  const sum = await metricsOf(mirror);
  t.ok(sum("entrepot_telemetry_lost_total", { sink: "health" }) >= 3);
});

t.test("a place for points that cannot be written to is told of once, and costs no request", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const directory = t.testdir();
  await writeFile(join(directory, "taken"), "");
  const mirror = await startMirror(t, upstream, {
    cache: { dir: join(directory, "cache") },
    influx: { dir: join(directory, "taken"), maxFileSize: 1e6, keep: 1 },
  });
  for (let i = 0; i < 5; i++) t.equal((await mirror.get(blob(small.digest))).status, 200);
  t.match(await mirror.line(({ msg }) => /InfluxDB/.test(String(msg))), {
    level: "error",
    err: { code: "ENOTDIR" },
  });
  const sum = await metricsOf(mirror);
  t.ok(sum("entrepot_telemetry_lost_total", { sink: "influx" }) >= 1);
  await mirror.app.stop();
  t.equal(mirror.lines.filter(({ msg }) => /InfluxDB/.test(String(msg))).length, 1);
});
