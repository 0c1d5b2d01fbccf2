import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Test } from "tap";
import t from "tap";
import {
  InfluxFile,
  type InfluxFileOptions,
  influxFileName,
} from "../../../src/telemetry/lines/influx-file.ts";
import { createInfluxPoints } from "../../../src/telemetry/lines/influx-points.ts";
import { parseLines } from "../../fixtures/line-protocol.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

function create(t: Test, options: Partial<InfluxFileOptions> = {}) {
  const directory = join(t.testdir(), "a", "b");
  const told: (string | undefined)[] = [];
  const counted = { lost: 0 };
  const file = new InfluxFile({
    directory,
    maxSize: 1e9,
    keep: 3,
    lost: (lines) => {
      counted.lost += lines;
    },
    failing: (error) => told.push(error && ((error as NodeJS.ErrnoException).code ?? error.message)),
    ...options,
  });
  const path = join(options.directory ?? directory, influxFileName);
  const read = (suffix = ""): Promise<string> => readFile(path + suffix, "utf8");
  return { file, path, read, told, counted, directory: options.directory ?? directory };
}

const line = (at: number): string => `m,node=n f=${at}i 17000000000000${String(at).padStart(5, "0")}\n`;

t.test("a burst of 80,000 requests arrives whole, in order, with a time for each", async (t) => {
  const { file, directory, read, counted } = create(t, { maxSize: 8_000_000, keep: 20 });
  const points = createInfluxPoints({ node: "n1" }).ofRequest;
  for (let i = 0; i < 80_000; i++) {
    for (const each of points(sampleEvent({ id: String(i) }))) file.write(each);
    // As much as may wait at once.
    if (i % 20_000 === 0) await file.flush();
  }
  await file.flush();
  t.equal(counted.lost, 0);
  const names = await readdir(directory);
  t.ok(names.length > 3, names.join(" "));
  const newestLast = [...names.filter((name) => name !== influxFileName)]
    .sort((a, b) => Number(b.split(".").at(-1)) - Number(a.split(".").at(-1)))
    .concat(influxFileName);
  const texts = await Promise.all(newestLast.map((name) => readFile(join(directory, name), "utf8")));
  const all = texts.flatMap((text) => text.split("\n").slice(0, -1));
  t.strictSame(
    all.map((each) => Number(/,id="(\d+)",/.exec(each)?.[1])),
    Array.from({ length: 80_000 }, (_, at) => at),
    "all of them, in their order",
  );
  t.equal(new Set(all.map((each) => each.slice(each.lastIndexOf(" ")))).size, 80_000);
  t.ok(texts.every((text) => text.endsWith("\n")));
  t.ok(parseLines(texts.at(-1) ?? "").length > 0);
  t.ok((await read()).length <= 8_000_000);
});

t.test("nothing is written before there is something, and a full file is set aside whole", async (t) => {
  const { file, directory, read } = create(t, { maxSize: 200, keep: 2 });
  await file.flush();
  await t.rejects(readdir(directory), { code: "ENOENT" });
  for (let at = 0; at < 20; at++) {
    file.write(line(at));
    await file.flush();
  }
  t.strictSame((await readdir(directory)).sort(), [
    influxFileName,
    `${influxFileName}.1`,
    `${influxFileName}.2`,
  ]);
  const kept = [await read(".2"), await read(".1"), await read()];
  for (const text of kept) t.ok(text.length <= 200 && text.length > 0);
  const last = parseLines(kept.join("")).map(({ fields }) => Number(fields.f));
  t.equal(last.at(-1), 19);
  t.ok(
    last.every((at, i) => i === 0 || at === (last[i - 1] as number) + 1),
    "no gap in what is kept",
  );
  t.notOk(`${influxFileName}.1`.endsWith(".influx"), "out of the pattern of the reader");
});

t.test("keep 0 keeps none", async (t) => {
  const { file, directory } = create(t, { maxSize: 100, keep: 0 });
  for (let at = 0; at < 10; at++) {
    file.write(line(at));
    await file.flush();
  }
  t.strictSame(await readdir(directory), [influxFileName]);
});

t.test("a file that ends in the middle of a line is set aside, not gone on with", async (t) => {
  const { file, directory, path, read } = create(t);
  await mkdir(directory, { recursive: true });
  await writeFile(path, `${line(1)}m,node=n f=2i 1700`);
  file.write(line(3));
  await file.flush();
  t.equal(await read(), line(3));
  t.equal(await read(".1"), `${line(1)}m,node=n f=2i 1700`);
  const another = new InfluxFile({ directory, maxSize: 1e9, keep: 3, lost: () => {}, failing: () => {} });
  another.write(line(4));
  await another.flush();
  t.equal(await read(), line(3) + line(4), "one that ends well is gone on with");
});

t.test("whoever moves or removes the file gets a new one, and loses nothing of it", async (t) => {
  const { file, path, directory, read, counted } = create(t);
  file.write(line(1));
  await file.flush();
  await rename(path, `${path}.moved`);
  file.write(line(2));
  await file.flush();
  t.equal(await read(".moved"), line(1));
  t.equal(await read(), line(2));
  await rm(directory, { recursive: true });
  file.write(line(3));
  await file.flush();
  t.equal(await read(), line(3));
  t.equal(counted.lost, 0);
});

t.test("what cannot be written is counted, and told once until it can be again", async (t) => {
  const { file, directory, read, told, counted } = create(t);
  await mkdir(join(directory, ".."), { recursive: true });
  await writeFile(directory, "a file where the directory should be");
  for (let at = 0; at < 5; at++) {
    file.write(line(at));
    await file.flush();
  }
  t.equal(counted.lost, 5);
  t.strictSame(told, ["ENOTDIR"]);
  await rm(directory);
  file.write(line(6));
  await file.flush();
  t.equal(await read(), line(6));
  t.equal(counted.lost, 5);
  t.strictSame(told, ["ENOTDIR", undefined]);
});

t.test("what waits has a bound, and what is over it is counted", async (t) => {
  const { file, read, counted } = create(t);
  const wide = `m f="${"x".repeat(1000)}" 1700000000000000000\n`;
  const count = 20_000;
  for (let i = 0; i < count; i++) file.write(wide);
  t.ok(counted.lost > 0, "16 MiB wait at most");
  await file.flush();
  t.equal((await read()).length, (count - counted.lost) * wide.length);
});

t.test("lines come to the file without anybody asking, within a beat", async (t) => {
  const { file, path } = create(t);
  // The file's own timers keep no process alive.
  const alive = setTimeout(() => {}, 10_000);
  const length = async (): Promise<number> => (await readFile(path, "utf8").catch(() => "")).length;
  file.write(line(1));
  while ((await length()) === 0) await new Promise(setImmediate);
  // So many that a write is under way when the last of them come.
  let expected = line(1).length;
  for (let at = 0; at < 20_000; at++) {
    file.write(line(at));
    expected += line(at).length;
  }
  while ((await length()) < expected) await new Promise(setImmediate);
  clearTimeout(alive);
  t.equal(await length(), expected);
});
