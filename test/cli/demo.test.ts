import { once } from "node:events";
import t from "tap";
import type { DemoOptions } from "../../src/demo/demo.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { never } from "../fixtures/scripted-app.ts";

t.test("flags reach the demo, lines and the exit code come back", async (t) => {
  const seen: DemoOptions[] = [];
  const runDemo = async (options: DemoOptions) => {
    seen.push(options);
    options.print("hello");
    return 7;
  };
  const line = commandLine(["demo", "--once", "--port", "0", "--ops-port", "6001"], { runDemo });
  t.equal(await line.exit, 7);
  t.equal(line.out(), "hello\n");
  t.equal(line.listeners(), 0);
  await commandLine(["demo"], { runDemo }).exit;
  t.match(seen, [
    { once: true, port: 0, opsPort: 6001 },
    { once: false, port: 5000, opsPort: 5001 },
  ]);
});

t.test("a signal ends the demo in order", async (t) => {
  const runDemo = async ({ signal }: DemoOptions) => {
    await once(signal, "abort");
    return 0;
  };
  const line = commandLine(["demo"], { runDemo });
  line.signal("SIGINT");
  t.equal(await line.exit, 0);
});

t.test("a second signal does not wait for it", async (t) => {
  const line = commandLine(["demo"], { runDemo: never });
  line.signal("SIGINT");
  line.signal("SIGINT");
  t.equal(await line.exit, 1);
});

t.test("a demo that fails says why", async (t) => {
  const line = commandLine(["demo"], { runDemo: () => Promise.reject(new Error("no temporary directory")) });
  t.equal(await line.exit, 1);
  t.equal(line.err(), "entrepot: cannot start: no temporary directory\n");
});
