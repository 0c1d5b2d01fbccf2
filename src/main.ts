#!/usr/bin/env node
// The only file that touches `process`: argv, environment, signals, exit code. It imports nothing before the runtime is
// known to be new enough, so that an old one gives a sentence instead of a syntax error from somewhere inside.
import type { Context } from "./cli/context.ts";

/** Older ones let a crafted request smuggle a second one through a proxy (CVE-2026-58044), or lack what is used here. */
const oldestNode = "24.18.1";

function isAtLeast(version: string, minimum: string): boolean {
  const wanted = minimum.split(".").map(Number);
  const parts = version.split(".").map((part) => Number.parseInt(part, 10));
  for (const [index, least] of wanted.entries()) {
    const part = parts[index] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
}

/** One JSON line, like every other line of the log; then the end, because the state of the process is unknown. */
function die(kind: string, error: unknown): void {
  const cause: NodeJS.ErrnoException = error instanceof Error ? error : new Error(String(error));
  const { name, message, code, stack } = cause;
  const err = { type: name, message, code, stack };
  const line = { level: "fatal", time: new Date().toISOString(), msg: kind, err };
  process.stderr.write(`${JSON.stringify(line)}\n`, () => process.exit(1));
}

/** A reader that went away (`entrepot check | head -1`) is no failure. */
function tolerateBrokenPipe(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

/**
 * Run from source, the stats page's scripts are stripped of their types as Node strips ours (ops/page/assets.ts), and
 * Node would warn at every start that this function may change one day.
 */
function silenceStripping(): void {
  const emitWarning = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    if (!String(warning).startsWith("stripTypeScriptTypes"))
      Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
}

/**
 * SIGTERM and SIGINT. Repeats within 200 ms are one signal: at Ctrl-C under `npm start` the terminal sends it and npm
 * passes on another. After the release a late repeat is still ignored: the process is about to end, with its own exit code.
 */
function onSignal(listener: (name: string) => void): () => void {
  let last = Number.NEGATIVE_INFINITY;
  let released = false;
  const heard = (name: string) => {
    const now = performance.now();
    if (released || now - last < 200) return;
    last = now;
    listener(name);
  };
  process.on("SIGTERM", heard).on("SIGINT", heard);
  return () => {
    released = true;
  };
}

/**
 * Signals whose default is to end the process, in the middle of its transfers, or to open Node's inspector. With a listener
 * they do neither.
 */
function onHarmlessSignal(listener: (name: string) => void): () => void {
  const names = ["SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
  for (const name of names) process.on(name, listener);
  return () => {
    for (const name of names) process.off(name, listener);
  };
}

/** At the standard error, because the standard output may be for a program. */
async function ask(question: string): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}

async function main(): Promise<number> {
  // Chunks of transfers are memory outside V8's heap that only its collector frees. While the space for young objects stays
  // as small as it starts (1 MiB), they are freed with it, often and cheaply. Grown to 16 MiB it is collected too seldom, and
  // V8 marks its whole heap instead. So little is collected sooner than other threads would have been woken to help.
  const { setFlagsFromString } = await import("node:v8");
  setFlagsFromString("--semi-space-growth-factor=1");
  setFlagsFromString("--no-parallel-scavenge");
  const { readFileSync } = await import("node:fs");
  const { run } = await import("./cli/program.ts");
  const { version } = await import("./version.ts");
  const { withPassedSockets } = await import("./cli/passed-sockets.ts");
  const readFile = (path: string | URL) => readFileSync(path, "utf8");
  const context: Context = {
    version,
    env: withPassedSockets(process.env, process.pid),
    readFile,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    onSignal,
    onHarmlessSignal,
    memoryLimit: process.constrainedMemory(),
    outputTerminal: process.stdout.isTTY ? { colors: process.stdout.hasColors() } : undefined,
    terminal: process.stderr.isTTY ? process.stderr : undefined,
    input: process.stdin.isTTY ? undefined : () => process.stdin,
    ask: process.stdin.isTTY && process.stdout.isTTY && process.stderr.isTTY ? ask : undefined,
  };
  return await run(process.argv.slice(2), context);
}

if (isAtLeast(process.versions.node, oldestNode)) {
  process.on("uncaughtException", (error) => die("uncaught exception", error));
  process.on("unhandledRejection", (reason) => die("unhandled rejection", reason));
  tolerateBrokenPipe(process.stdout);
  tolerateBrokenPipe(process.stderr);
  silenceStripping();
  const code = await main();
  // Whatever a failed or timed-out stop left open must not keep the process; what was written goes out first.
  process.stdout.write("", () => process.exit(code));
} else {
  process.stderr.write(`entrepot: needs Node ${oldestNode} or later, this is ${process.versions.node}\n`);
  process.exitCode = 1;
}
