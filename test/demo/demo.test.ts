import { once } from "node:events";
import { existsSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import t from "tap";
import { runDemo } from "../../src/demo/demo.ts";

const never = new AbortController().signal;

/** The cache directory that the demo said it would remove. */
const cacheDirectory = (lines: readonly string[]): string =>
  / cache (\S+) \(removed at the end\)/.exec(lines.join("\n"))?.[1] ?? "no directory was named";

t.test("a taken port is one clear line", async (t) => {
  const squatter = createServer().listen(0, "127.0.0.1");
  t.teardown(() => squatter.close());
  await once(squatter, "listening");
  const { port } = squatter.address() as AddressInfo;
  for (const ports of [
    { port, opsPort: 0 },
    { port: 0, opsPort: port },
  ]) {
    const lines: string[] = [];
    t.equal(await runDemo({ once: true, ...ports, print: (line) => lines.push(line), signal: never }), 1);
    t.same(lines, [`Port ${port} is taken. Choose others: npm run demo -- --port 5050 --ops-port 5051`]);
  }
});

t.test("a signal during the pulls ends the demo at once", async (t) => {
  const leaving = new AbortController();
  const lines: string[] = [];
  const print = (line: string): void => {
    lines.push(line);
    if (line.startsWith("1.")) setImmediate(() => leaving.abort());
  };
  t.equal(await runDemo({ once: true, port: 0, print, signal: leaving.signal }), 130);
  t.notOk(existsSync(cacheDirectory(lines)));
});
