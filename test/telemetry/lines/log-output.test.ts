import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import { openLogOutput } from "../../../src/telemetry/lines/log-output.ts";

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;

/** Both ends of a named pipe, neither of them blocking. */
function openPipe(t: Test): { readonly input: number; readonly output: number } {
  const path = join(t.testdir(), "pipe");
  execFileSync("mkfifo", [path]);
  const output = openSync(path, O_RDONLY | O_NONBLOCK);
  const input = openSync(path, O_WRONLY | O_NONBLOCK);
  t.teardown(() => {
    closeSync(input);
    closeSync(output);
  });
  return { input, output };
}

/** Whatever stands in the pipe now. */
function drain(descriptor: number): string {
  const scratch = Buffer.alloc(65536);
  let text = "";
  try {
    for (let length = readSync(descriptor, scratch); length > 0; length = readSync(descriptor, scratch))
      text += scratch.toString("latin1", 0, length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
  }
  return text;
}

t.test("lines arrive whole and in order", async (t) => {
  const path = join(t.testdir(), "log");
  const descriptor = openSync(path, "w");
  t.teardown(() => closeSync(descriptor));
  const output = openLogOutput(descriptor);
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i} ü€\n`);
  for (const line of lines) output.write(line);
  await output.flush();
  t.equal(readFileSync(path, "utf8"), lines.join(""));
  t.equal(output.lost, 0);
  await output.flush();
  t.pass("there is nothing left to wait for");
});

t.test("lines of one moment go out in one write, without being asked for", async (t) => {
  const pipe = openPipe(t);
  const output = openLogOutput(pipe.input);
  for (const line of ["one\n", "two\n", "three\n"]) output.write(line);
  let text = "";
  while (text === "") {
    await turn();
    text = drain(pipe.output);
  }
  t.equal(text, "one\ntwo\nthree\n");
});

const skip = existsSync("/dev/full") ? false : "this system has no /dev/full";
t.test("a full disk loses lines, never the process", { skip }, async (t) => {
  const descriptor = openSync("/dev/full", "w");
  t.teardown(() => closeSync(descriptor));
  const output = openLogOutput(descriptor);
  output.write("one\n");
  await output.flush();
  t.equal(output.lost, 1);
  output.write("two\n");
  output.write("three\n");
  await output.flush();
  t.equal(output.lost, 3, "and every line is tried again");
});

t.test("a reader that stands still costs bounded memory and a bounded flush", async (t) => {
  const pipe = openPipe(t);
  const output = openLogOutput(pipe.input);
  const line = `${"x".repeat(9999)}\n`;
  for (let i = 0; i < 1000; i++) output.write(line);
  t.ok(output.lost > 500, `${output.lost} of 1000 lines lost: 4 MiB wait, 10 MB came`);
  const lost = output.lost;
  await output.flush();
  t.equal(output.lost, lost, "what waits is not given up");

  let text = "";
  const expected = (1000 - lost) * line.length;
  while (text.length < expected) {
    text += drain(pipe.output);
    await turn();
  }
  await output.flush();
  text += drain(pipe.output);
  t.equal(text.length, expected, "when the reader moves on, everything that waited arrives");
  t.ok(
    text.split("\n").every((part) => part.length === 9999 || part === ""),
    "in whole lines",
  );
});

t.test("a reader that is gone loses lines, never the process", async (t) => {
  const path = join(t.testdir(), "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, O_RDONLY | O_NONBLOCK);
  const descriptor = openSync(path, O_WRONLY | O_NONBLOCK);
  t.teardown(() => closeSync(descriptor));
  closeSync(reader);
  const output = openLogOutput(descriptor);
  output.write("one\n");
  await output.flush();
  t.equal(output.lost, 1);
});
