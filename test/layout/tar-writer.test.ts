import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import t from "tap";
import { blobPath, indexName, layoutName } from "../../src/layout/layout-files.ts";
import { tarSource } from "../../src/layout/tar-source.ts";
import { TarWriter } from "../../src/layout/tar-writer.ts";
import { makeContent, randomBytesFor } from "../fixtures/images.ts";

const blobs = [700, 512, 0, 300_000].map((size, at) => makeContent(randomBytesFor(`${at}`, size)));
const images = [{ digest: blobs[0]?.digest, mediaType: "x/y", size: 700 }];

async function* chunks(bytes: Buffer, end = bytes.length): AsyncGenerator<Buffer> {
  for (let at = 0; at < end; at += 10_000) yield bytes.subarray(at, Math.min(at + 10_000, end));
  if (end < bytes.length) throw new Error("broken off");
}

async function write(file: string, upTo = blobs.length): Promise<number> {
  const writer = new TarWriter(file);
  let written = 0;
  try {
    await writer.begin(images);
    for (const [at, { digest, bytes }] of blobs.entries()) {
      if (await writer.has(digest, bytes.length)) continue;
      await writer.write(digest, bytes.length, chunks(bytes, at < upTo ? bytes.length : 20_000));
      written++;
    }
    await writer.finish();
  } finally {
    await writer.close();
  }
  return written;
}

t.test("the index before the blobs, each once, and nothing under the name before all is there", async (t) => {
  const file = `${t.testdir()}/images.tar`;
  await t.rejects(write(file, 3), /broken off/);
  t.notOk(existsSync(file));
  t.ok((await write(file)) > 0, "the rest");
  const names: string[] = [];
  for await (const { path } of tarSource("it", Readable.from([readFileSync(file)]))) names.push(path);
  t.same(names, [layoutName, indexName, ...blobs.map(({ digest }) => blobPath(digest))]);
  t.notOk(existsSync(`${file}.partial`));
});

t.test("of what an earlier one has left only right blobs before the first wrong one count", async (t) => {
  const file = `${t.testdir()}/images.tar`;
  await write(file);
  const whole = readFileSync(file);
  const second = whole.indexOf((blobs[1] as (typeof blobs)[0]).bytes);
  const spoiled = Buffer.from(whole);
  spoiled.write("x", second);
  for (const [left, expected] of [
    [whole, 0],
    [spoiled, 3],
    [whole.subarray(0, 1_700), 4],
    [Buffer.from("no tar at all"), 4],
    [Buffer.alloc(0), 4],
  ] as const) {
    writeFileSync(`${file}.partial`, left);
    t.equal(await write(file), expected);
    t.ok(readFileSync(file).equals(whole), "the same bytes");
  }
});

t.test("a disk that takes nothing is an error, and no wait without end", async (t) => {
  if (!existsSync("/dev/full")) return t.plan(0, "needs /dev/full");
  const directory = t.testdir({ "images.tar.partial": t.fixture("symlink", "/dev/full") });
  await t.rejects(write(`${directory}/images.tar`), { code: "ENOSPC" });
});
