// A process whose event loop stands still: what it says of itself before it ends.
import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import t from "tap";
import { Silence } from "../../src/workers/loop-watch.ts";

const watch = new URL("../../src/workers/loop-watch.ts", import.meta.url).href;

/** What the program reports, and how it ends. It looks every 20 ms. */
async function run(program: string): Promise<{ readonly report: string; readonly signal: string | null }> {
  const source = `import { watchLoop } from "${watch}"; watchLoop({ interval: 20, report: 3 }); ${program}`;
  const child = spawn(process.execPath, ["--disable-sigusr1", "--input-type=module", "-e", source], {
    // Nothing is ever written to its standard input.
    stdio: ["pipe", "ignore", "inherit", "pipe"],
    // Not the test runner's loader.
    env: { SECRET: "in the environment" },
  });
  const { promise: ended, resolve } = Promise.withResolvers<string | null>();
  child.once("close", (_code, signal) => resolve(signal));
  const report = await text(child.stdio[3] as Readable);
  return { report, signal: await ended };
}

t.test("the stack says where it stands, and nothing of what is in the variables", async (t) => {
  const { report, signal } = await run(`
    const password = "in a variable";
    function innermost(secret) { for (;;) secret.length; }
    function outer() { innermost(password); }
    setImmediate(outer);
  `);
  t.equal(signal, "SIGKILL");
  t.match(report, /^ {4}at innermost \(.+:\d+:\d+\)\n {4}at outer \(.+:\d+:\d+\)\n/);
  t.notMatch(report, /in a variable|in the environment/);
});

t.test("also in the middle of a regular expression, and while it waits for another thread", async (t) => {
  const expression = await run(
    `function matches() { /^(a+)+$/.test("a".repeat(60) + "b"); } setImmediate(matches);`,
  );
  t.match(expression, { report: /at matches/, signal: "SIGKILL" });
  const wait = await run(
    "function waits() { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); } setImmediate(waits);",
  );
  t.match(wait, { report: /at waits/, signal: "SIGKILL" });
});

t.test("a process that waits for the system ends without a stack", async (t) => {
  const { report, signal } = await run(
    'const { readSync } = await import("node:fs"); setImmediate(() => readSync(0, Buffer.alloc(1)));',
  );
  t.equal(signal, "SIGKILL");
  t.equal(report, "\n");
});

t.test("a process that has nothing to do any more ends as it would have", async (t) => {
  t.same(await run(""), { report: "", signal: null });
});

t.test("only looks in a row that find nothing new count", (t) => {
  const silence = new Silence();
  const looks = (turns: readonly number[]) => turns.map((each) => silence.look(each));
  t.notOk(looks([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]).includes(true), "one, and nine after it");
  t.notOk(looks([2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]).includes(true));
  t.same(looks([3]), [true]);
  t.end();
});
