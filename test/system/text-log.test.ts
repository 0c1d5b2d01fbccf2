// The log on a real terminal is for people, in a pipe for programs.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { Child } from "./fixtures/child.ts";
import { requires } from "./fixtures/requires.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** The line a mirror says that it listens with. */
async function listeningLine(t: Test, format: string | undefined, isTerminal: boolean): Promise<string> {
  const serve = [process.execPath, "--disable-sigusr1", main, "serve", "--offline"];
  // script ends at a signal without passing it on.
  const command = `echo "pid $$"; exec ${serve.join(" ")}`;
  const program = isTerminal ? "script" : "sh";
  const args = isTerminal ? ["--quiet", "--return", "--command", command, "/dev/null"] : ["-c", command];
  const child = new Child(t, program, args, {
    env: {
      TERM: "xterm",
      ENTREPOT_UPSTREAM_URL: "http://127.0.0.1:1",
      ENTREPOT_LISTEN: "127.0.0.1:0",
      ENTREPOT_OPS_LISTEN: "127.0.0.1:0",
      ENTREPOT_CACHE_DIR: join(t.testdir(), "cache"),
      ENTREPOT_DRAIN_DELAY: "0s",
      ...(format === undefined ? {} : { ENTREPOT_LOG_FORMAT: format }),
    },
  });
  const pid = await child.line((each) => /^pid (\d+)/.exec(each)?.[1]);
  t.teardown(() => gone(Number(pid)));
  const line = await child.line((each) => (each.includes("listening") ? each.trim() : undefined));
  gone(Number(pid));
  await child.exited;
  return line;
}

function gone(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: of colours
const text = /^\u001b\[2m\d\d:\d\d:\d\d\.\d\d\dZ\u001b\[22m \u001b\[32mINFO \u001b\[39m listening /;

t.test("on a terminal lines are text, in a pipe JSON, and the setting is stronger", async (t) => {
  if (!requires(t, "linux", "script")) return;
  t.match(await listeningLine(t, undefined, true), text);
  t.match(JSON.parse(await listeningLine(t, undefined, false)), { level: "info", msg: "listening" });
  t.match(JSON.parse(await listeningLine(t, "json", true)), { level: "info", msg: "listening" });
  t.match(await listeningLine(t, "text", false), /^\d\d:\d\d:\d\d\.\d\d\dZ INFO {2}listening node=/);
});
