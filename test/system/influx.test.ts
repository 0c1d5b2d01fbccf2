// What the mirror writes for InfluxDB, taken in by a real InfluxDB: every line is a point, and none is lost to another.
import { readdir, readFile, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { join } from "node:path";
import t from "tap";
import { InfluxFile, influxFileName } from "../../src/telemetry/lines/influx-file.ts";
import { parseLines } from "../fixtures/line-protocol.ts";
import { Content } from "./fixtures/content.ts";
import { download } from "./fixtures/download.ts";
import { startFront } from "./fixtures/front.ts";
import { startInfluxDb } from "./fixtures/influxdb.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { mountSmallDisk, smallDiskPrograms } from "./fixtures/small-disk.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(180_000);

const dashboard = join(import.meta.dirname, "../../deploy/grafana/dashboards/entrepot-influxdb.json");

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

function ask(url: string, method: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent }, (answer) => {
      answer.resume();
      answer.on("close", () => resolve(answer.statusCode ?? 0));
    });
    sent.on("error", reject);
    sent.end();
  });
}

t.test("every line of a mirror's day is a point in InfluxDB", async (t) => {
  if (!requires(t, "influxd")) return;
  t.teardown(() => agent.destroy());
  const influx = await startInfluxDb(t);
  const front = await startFront(t);
  const [small, large] = [new Content("small", 100_000), new Content("large", 20_000_000)];
  front.add(small, large);
  const directory = await workDirectory(t);
  const mirror = await startMirror(t, front, {
    env: { ENTREPOT_INFLUX_DIR: join(directory, "lines"), ENTREPOT_INFLUX_MAX_FILE_SIZE: "1MB" },
  });

  // Misses and followers, hits, ranges, what is not there, what is no name, writes, and clients of every kind.
  const url = mirror.blobUrl(small.digest);
  await Promise.all(Array.from({ length: 20 }, () => download(mirror.blobUrl(large.digest)).done));
  await download(mirror.blobUrl(large.digest), { leave: () => true }).done;
  await ask(url, "GET");
  await until("both are kept", async () => (await mirror.metric("entrepot_cache_objects")) === 2);
  const kinds: (() => Promise<number>)[] = [
    () => ask(url, "GET"),
    () => ask(url, "HEAD", { "user-agent": 'containerd/2 "quoted", back\\slash= \\' }),
    () => ask(url, "GET", { range: "bytes=5-9", "x-forwarded-for": "192.0.2.1, 198.51.100.7" }),
    () => ask(mirror.blobUrl(`sha256:${"0".repeat(64)}`), "GET"),
    () => ask(`${mirror.url}/v2/made/"app",x=y/manifests/1`, "GET"),
    () => ask(`${mirror.url}/v2/nobody/has/manifests/latest`, "GET", { "x-request-id": "burst.1" }),
    () => ask(url, "DELETE"),
    () => ask(`${mirror.url}/v2/`, "GET", { "user-agent": "caf\u00e9" }),
  ];
  const rounds = 250;
  for (let round = 0; round < rounds; round++) await Promise.all(kinds.map((kind) => kind()));
  const asked = 20 + 1 + 1 + rounds * kinds.length;
  t.equal(
    await until("every request is counted", async () => {
      const counted = await mirror.metric("entrepot_requests_total");
      return counted >= asked && counted;
    }),
    asked,
  );
  t.equal(await mirror.metric("entrepot_telemetry_lost_total"), 0);
  await mirror.stop();

  const files = await readdir(join(directory, "lines"));
  t.ok(files.length > 1, `${files.join(" ")}: set aside at 1 MB`);
  const lines = await Promise.all(files.map((file) => readFile(join(directory, "lines", file), "utf8")));
  const points = lines.flatMap((text) => parseLines(text));
  t.equal(new Set(points.map(({ time }) => time)).size, points.length, "no two lines of one time");
  for (const text of lines) await influx.write(text);
  const access = points.filter(({ measurement }) => measurement === "registry_access").length;
  t.equal(access, asked);
  t.equal(await influx.count("registry_access", "status"), access);
  t.equal(await influx.count("request_origin", "status"), points.length - access);
  t.equal(mirror.process.output().split('"msg":"request"').length - 1, asked, "as many as the log has lines");

  t.equal(await influx.count("registry_access", "status", "WHERE result = 'hit' AND type = 'blob'"), 750);
  t.equal(await influx.count("registry_access", "status", "WHERE code = '405' AND method = 'DELETE'"), 250);
  t.equal(await influx.count("request_origin", "status", "WHERE result = 'hit'"), 0);
  const agents = await influx.rows(
    "SELECT user_agent FROM registry_access WHERE method = 'HEAD' ORDER BY time LIMIT 1",
  );
  t.equal(agents[0]?.[1], 'containerd/2 "quoted", back\\slash= \\', "as the client sent it");
  const projects = await influx.rows('SHOW TAG VALUES FROM "registry_access" WITH KEY = "project"');
  t.same(projects.map(([, value]) => value).sort(), ["_other", "made"]);
  const layers = await influx.rows(
    `SELECT SUM(bytes) FROM request_origin WHERE ref = '${large.digest}' AND success = true`,
  );
  t.equal(layers[0]?.[1], 20 * large.size);

  await t.test("every query of the dashboard is understood, and most have an answer", async (t) => {
    const text = await readFile(dashboard, "utf8");
    const queries = [...text.matchAll(/"query": ("SELECT .*")/g)].map(([, query = ""]) => JSON.parse(query));
    t.ok(queries.length > 25);
    let answered = 0;
    for (const query of queries) {
      const filled = query
        .replace(/\/\^\$(?:node|upstream)\$\//g, "/^.*$/")
        .replace("$timeFilter", "time > now() - 1h")
        .replace("$__interval", "1m");
      if ((await influx.rows(filled)).length > 0) answered++;
    }
    t.ok(answered > queries.length / 2, `${answered} of ${queries.length} have an answer`);
  });
});

t.test("a full disk costs the lines that do not fit, and no part of one is left", async (t) => {
  if (!requires(t, ...smallDiskPrograms)) return;
  const directory = await mountSmallDisk(t, 1);
  const told: (string | undefined)[] = [];
  let lost = 0;
  const file = new InfluxFile({
    directory,
    maxSize: 1e9,
    keep: 1,
    lost: (lines) => {
      lost += lines;
    },
    failing: (error) => told.push((error as NodeJS.ErrnoException | undefined)?.code),
  });
  const path = join(directory, influxFileName);
  const line = (at: number): string =>
    `m,node=n f=${at}i,s="${"x".repeat(100)}" 17000000000000${String(at).padStart(5, "0")}\n`;
  const count = 40_000;
  for (let at = 0; at < count; at++) file.write(line(at));
  await file.flush();
  const kept = parseLines(await readFile(path, "utf8"));
  t.ok(kept.length > 0 && kept.length < count, `${kept.length} fit`);
  t.equal(kept.length + lost, count, "and all of the others are counted");
  t.strictSame(told, ["ENOSPC"]);
  await rm(path);
  file.write(line(1));
  await file.flush();
  t.equal(await readFile(path, "utf8"), line(1), "it goes on when there is room");
  t.strictSame(told, ["ENOSPC", undefined]);
});

t.test("the combined log has the standard output to itself", async (t) => {
  const front = await startFront(t);
  const content = new Content("small", 100_000);
  front.add(content);
  const mirror = await startMirror(t, front, { env: { ENTREPOT_LOG_FORMAT: "combined" } });
  for (const method of ["GET", "HEAD"])
    await ask(mirror.blobUrl(content.digest), method, { "user-agent": "test/1" });
  await mirror.stop();
  const lines = mirror.process.standardOutput().split("\n");
  t.equal(lines.length, 2);
  t.match(
    lines[0],
    /^127\.0\.0\.1 - - \[.+\] "GET \S+ HTTP\/1\.1" 200 100000 "-" "test\/1" rt=\S+ urt=\d\S+ cs=miss rid=\S+$/,
  );
  t.match(lines[1], / "HEAD \S+ HTTP\/1\.1" 200 0 "-" "test\/1" /);
  t.match(mirror.process.output(), '"msg":"drained"', "everything else is on the standard error");
});
