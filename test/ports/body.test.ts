import { PassThrough } from "node:stream";
import { mock } from "node:test";
import t from "tap";
import { bodyChunks } from "../../src/ports/body.ts";
import { quiet } from "../fixtures/manual-time.ts";

const silence = new Error("silent");
const chunks = [Buffer.from("a"), Buffer.from("bb"), Buffer.from("ccc")];

/** Reads all of it; what has come, and the error it ended with, if any. */
async function read(source: PassThrough, idle = 1_000): Promise<{ taken: Buffer[]; error: unknown }> {
  const taken: Buffer[] = [];
  try {
    for await (const chunk of bodyChunks(source, idle, () => silence)) taken.push(chunk);
    return { taken, error: undefined };
  } catch (error) {
    return { taken, error };
  }
}

t.test("chunks are passed on as they are, not copied or joined", async (t) => {
  const source = new PassThrough();
  for (const chunk of chunks) source.write(chunk);
  source.end();
  const { taken, error } = await read(source);
  t.equal(error, undefined);
  t.equal(taken.length, chunks.length);
  for (const [at, chunk] of taken.entries()) t.equal(chunk, chunks[at]);
  t.ok(source.destroyed);
});

t.test("a sender that is silent for too long ends the body", async (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const source = new PassThrough();
  const body = bodyChunks(source, 1_000, () => silence);
  source.write(chunks[0]);
  t.equal((await body.next()).value, chunks[0]);
  mock.timers.tick(5_000);
  await quiet(1);
  t.notOk(source.destroyed, "while the reader is busy, the sender is not waited for");
  const next = body.next();
  mock.timers.tick(999);
  await quiet(1);
  t.notOk(source.destroyed);
  mock.timers.tick(1);
  await t.rejects(next, silence);
  t.ok(source.destroyed);
});

t.test("a body that breaks off is an error, whenever it does", async (t) => {
  const reset = new Error("reset");
  for (const [error, expected] of [
    [reset, reset],
    [undefined, { message: /closed before the end/ }],
  ] as const) {
    const before = new PassThrough();
    before.on("error", () => {});
    before.destroy(error);
    t.match((await read(before)).error, expected, "before it is read");
    const after = new PassThrough();
    const reading = read(after);
    after.write(chunks[0]);
    await quiet(1);
    after.destroy(error);
    const { taken, error: ended } = await reading;
    t.equal(taken[0], chunks[0], "what had come is right");
    t.match(ended, expected, "while it is read");
  }
});

t.test("leaving early destroys the source", async (t) => {
  const source = new PassThrough();
  source.write(chunks[0]);
  for await (const _ of bodyChunks(source, 1_000, () => silence)) break;
  t.ok(source.destroyed);
});
