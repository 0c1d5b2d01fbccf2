import { readdir, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { readHistory, writeHistory } from "../../../src/telemetry/recent/recent-history.ts";
import { RecentTraffic } from "../../../src/telemetry/recent/recent-traffic.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const start = Date.UTC(2026, 0, 1);

t.test("what was written is read, and nothing is left beside it", async (t) => {
  const directory = t.testdir();
  const path = join(directory, "history.json");
  t.equal(await readHistory(path), undefined, "no file, no history");
  const traffic = new RecentTraffic();
  for (let at = 0; at < 24 * 60; at++) traffic.onEvent(sampleEvent({ bytesSent: 1e12 }), start + at * 60_000);
  const saved = { ...traffic.save(), upstreams: [] };
  await writeHistory(path, saved);
  await writeHistory(path, saved);
  t.same(await readHistory(path), saved);
  t.strictSame(await readdir(directory), ["history.json"]);
  t.ok((await stat(path)).size < 64_000, "small also when it is full");
});

t.test("anything else is refused", async (t) => {
  const path = join(t.testdir(), "history.json");
  const good = { version: 1, fields: ["requests"], minutes: [[1, [2]]], halfHours: [] };
  const hub = { name: "hub", rows: [[1, [2]]], codes: [["timeout", []]], ttfb: [5] };
  const texts = [
    "",
    "null",
    "[]",
    '{"version":1,"fields":["requests"],"minutes":[[1,[2',
    JSON.stringify({ ...good, version: 2 }),
    JSON.stringify({ ...good, fields: [1] }),
    JSON.stringify({ ...good, minutes: [[1, [-2]]] }),
    JSON.stringify({ ...good, minutes: [["1", [2]]] }),
    JSON.stringify({ ...good, minutes: [null] }),
    JSON.stringify({ ...good, halfHours: Array.from({ length: 201 }, () => [1, [2]]) }),
    JSON.stringify({ ...good, halfHours: [[1, Array.from({ length: 101 }, () => 2)]] }),
    ...[null, [null], [{ ...hub, name: 1 }], [{ ...hub, codes: [["a"]] }], [{ ...hub, ttfb: [-1] }]].map(
      (upstreams) => JSON.stringify({ ...good, upstreams }),
    ),
    JSON.stringify({ ...good, upstreams: Array.from({ length: 101 }, () => hub) }),
  ];
  for (const text of texts) {
    await writeFile(path, text);
    await t.rejects(readHistory(path), text.slice(0, 60));
  }
  await writeFile(path, JSON.stringify({ ...good, upstreams: [hub] }));
  t.match(await readHistory(path), { upstreams: [hub] });
  await writeFile(path, JSON.stringify(good));
  t.match(await readHistory(path), { fields: ["requests"], minutes: [[1, [2]]] });
  await truncate(path, 10_000_000);
  await t.rejects(readHistory(path), { message: /10000000 bytes/ });
});

t.test("a file that cannot be written is an error, and the old one stays", async (t) => {
  const directory = t.testdir({ "history.json": "old", "history.json.new": {} });
  const path = join(directory, "history.json");
  await t.rejects(writeHistory(path, { ...new RecentTraffic().save(), upstreams: [] }), { code: "EISDIR" });
  t.equal((await stat(path)).size, 3);
});
