// The thread of loop-watch.ts. It uses Node's inspector from inside the process: no port is opened. It reads the stack, and
// no variables: those may be secrets.
import { writeSync } from "node:fs";
import { type Debugger, Session } from "node:inspector";
import { workerData } from "node:worker_threads";
import { Silence, type WatchedLoop } from "./loop-watch.ts";

/** Milliseconds in which the loop has to say where it stands: code that is not JavaScript does not. */
const patience = 2_000;

const { interval, report, turns } = workerData as WatchedLoop;
const silence = new Silence();
const looking = setInterval(() => {
  if (!silence.look(Atomics.load(turns, 0))) return;
  clearInterval(looking);
  setTimeout(() => end("\n"), patience);
  stackOfMain((stack) => end(`${stack}\n`));
}, interval);

function end(text: string): void {
  try {
    // Within what a pipe holds: it does not block.
    writeSync(report, text);
  } finally {
    process.kill(process.pid, "SIGKILL");
  }
}

/** Calls back with the frames of the main thread, the innermost first, as an Error has them; never if it runs no JavaScript. */
function stackOfMain(found: (stack: string) => void): void {
  const session = new Session();
  session.connectToMainThread();
  const urls = new Map<string, string>();
  session.on("Debugger.scriptParsed", ({ params: { scriptId, url } }) => urls.set(scriptId, url));
  session.on("Debugger.paused", ({ params: { callFrames } }) =>
    found(callFrames.map((frame) => frameText(frame, urls)).join("\n")),
  );
  session.post("Debugger.enable");
  session.post("Debugger.pause");
}

function frameText(
  { functionName, location }: Debugger.CallFrame,
  urls: ReadonlyMap<string, string>,
): string {
  const { scriptId, lineNumber, columnNumber = 0 } = location;
  // The inspector counts from 0, an Error from 1.
  const place = `${urls.get(scriptId) ?? "unknown"}:${lineNumber + 1}:${columnNumber + 1}`;
  return functionName === "" ? `    at ${place}` : `    at ${functionName} (${place})`;
}
