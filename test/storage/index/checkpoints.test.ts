// A thread copies the log of the index, also to its last page while writes go on. Without the thread the log stays
// short too.
import { existsSync } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import type { Notice } from "../../../src/ports/event.ts";
import { Layout } from "../../../src/storage/disk/layout.ts";
import { Checkpoints } from "../../../src/storage/index/checkpoints.ts";
import { Database } from "../../../src/storage/index/database.ts";

/** Resolves in the turn of the event loop in which `holds` does: a thread, or the disk, takes its time. */
async function come(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`did not come about: ${what}`);
    await turn();
  }
}

/** Checkpoints by a thread that does what `onMessage` says, with `port` and `gate` at hand. */
async function scripted(t: Test, onMessage: string) {
  const told = { finished: 0, failed: [] as Error[], lost: [] as Error[] };
  const program = join(t.testdir(), "thread.mjs");
  await writeFile(
    program,
    `import { parentPort as port, workerData } from "node:worker_threads";
     import { existsSync, writeFileSync } from "node:fs";
     const { gate } = workerData;
     port.on("message", () => { ${onMessage} });`,
  );
  const checkpoints = new Checkpoints({
    location: "file:nowhere",
    finish: () => told.finished++,
    failed: (error) => told.failed.push(error),
    lost: (error) => told.lost.push(error),
    program: pathToFileURL(program),
  });
  t.teardown(() => checkpoints.close());
  return { checkpoints, told };
}

t.test("rows reach the file while the index is open, and the log does not grow with them", async (t) => {
  const directory = t.testdir();
  const layout = new Layout(directory);
  const notices: Notice[] = [];
  const database = new Database(layout, (notice) => notices.push(notice));
  t.teardown(() => database.close());
  const insert = database.prepare("INSERT INTO repositories (upstream, name) VALUES ('hub', ?)");
  const filler = "x".repeat(3_000);
  const size = async (path: string): Promise<number> => (await stat(path)).size;
  const log = database.prepare("PRAGMA wal_checkpoint(NOOP)");
  const pages: number[] = [];
  for (let round = 0; round < 20; round++) {
    for (let at = 0; at < 500; at++) insert.run(`${filler} ${round} ${at}`);
    pages.push(Number(log.get()?.log));
    await come("a checkpoint of all", () => log.get()?.checkpointed === log.get()?.log);
  }
  t.ok((await size(layout.index)) > 20_000_000);
  t.ok(Math.max(...pages) < 3 * Math.min(...pages), `begun anew every round: ${pages}`);
  t.same(notices, []);
  database.close();
  t.notOk(existsSync(`${layout.index}-wal`), "nothing is open any more");
});

t.test("a long log makes what can wait wait until it is copied to its end", async (t) => {
  const go = join(t.testdir(), "go");
  // The second answer, which ends the pause, waits until the pause has been seen.
  const { checkpoints, told } = await scripted(
    t,
    `if (globalThis.answers) while (!existsSync(${JSON.stringify(go)}));
     globalThis.answers = 1;
     port.postMessage({ pages: 10_000 });`,
  );
  checkpoints.wrote(499);
  t.equal(checkpoints.pause, undefined);
  checkpoints.wrote(1);
  // Of a write that comes while the thread works.
  checkpoints.wrote(1);
  await come("a pause", () => checkpoints.pause !== undefined);
  const { pause } = checkpoints;
  await writeFile(go, "");
  await pause;
  t.equal(checkpoints.pause, undefined);
  t.equal(told.finished, 0, "nothing was written meanwhile: the thread has copied all of it");
});

t.test(
  "when writes that cannot wait never stop, the program copies the rest, after some turns",
  async (t) => {
    const { checkpoints, told } = await scripted(t, "port.postMessage({ pages: 10_000 })");
    checkpoints.wrote(500);
    await come("the end of the pause", () => {
      checkpoints.wrote(1);
      return told.finished > 0;
    });
    t.equal(checkpoints.pause, undefined);
    t.same([told.failed, told.lost], [[], []]);
  },
);

t.test("a short log pauses nothing", async (t) => {
  const { checkpoints, told } = await scripted(
    t,
    "port.postMessage({ pages: 10 }); port.postMessage({ message: 'the mark', errcode: 10 });",
  );
  checkpoints.wrote(500);
  checkpoints.wrote(1);
  await come("the mark", () => told.failed.length > 0);
  t.equal(checkpoints.pause, undefined);
  t.match(told.failed, [{ message: "the mark", errcode: 10 }]);
});

t.test("a stop waits for the checkpoint under way", async (t) => {
  const done = join(t.testdir(), "done");
  const { checkpoints, told } = await scripted(
    t,
    `Atomics.store(gate, 0, 1);
     port.postMessage({ message: "at work", errcode: undefined });
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
     writeFileSync(${JSON.stringify(done)}, "");
     Atomics.store(gate, 0, 0);
     Atomics.notify(gate, 0);`,
  );
  checkpoints.wrote(500);
  await come("work", () => told.failed.length > 0);
  t.notOk(existsSync(done));
  checkpoints.close();
  t.ok(existsSync(done));
  checkpoints.close();
  checkpoints.wrote(10_000);
  t.equal(checkpoints.pause, undefined);
});

t.test("a thread that ends is told once, ends a pause, and is not begun again", async (t) => {
  const { checkpoints, told } = await scripted(t, "throw new Error('out of memory')");
  checkpoints.wrote(500);
  await come("the loss", () => told.lost.length > 0);
  t.match(told.lost, [{ message: "out of memory" }]);
  checkpoints.wrote(5_000);
  for (let at = 0; at < 100; at++) await turn();
  t.equal(told.lost.length, 1);
});

t.test("without its thread the index keeps its log short itself, and says so", async (t) => {
  const layout = new Layout(t.testdir());
  const notices: Notice[] = [];
  const database = new Database(layout, (notice) => notices.push(notice), new URL("file:///nowhere.mjs"));
  t.teardown(() => database.close());
  const insert = database.prepare("INSERT INTO repositories (upstream, name) VALUES ('hub', ?)");
  const filler = "x".repeat(3_000);
  for (let at = 0; at < 500; at++) insert.run(`${filler} ${at}`);
  await come("the notice", () => notices.length > 0);
  t.match(notices, [{ kind: "store_error", op: "index.checkpoint" }]);
  const { size } = await stat(layout.index);
  for (let at = 500; at < 2_500; at++) insert.run(`${filler} ${at}`);
  t.ok((await stat(layout.index)).size > size, "copied");
  t.equal(notices.length, 1);
});
