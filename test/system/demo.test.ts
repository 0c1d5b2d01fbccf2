// Two whole demos, with bandwidth limited on purpose: 8 s on an idle machine.
import { existsSync } from "node:fs";
import t from "tap";
import { request } from "undici";
import { runDemo } from "../../src/demo/demo.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(120_000);

const never = new AbortController().signal;

/** The cache directory that the demo said it would remove. */
const cacheDirectory = (lines: readonly string[]): string =>
  / cache (\S+) \(removed at the end\)/.exec(lines.join("\n"))?.[1] ?? "no directory was named";

t.test("once: cold, warm, fleet, a table, exit code 0, nothing left behind", async (t) => {
  const lines: string[] = [];
  const code = await runDemo({
    once: true,
    port: 0,
    opsPort: 0,
    print: (line) => lines.push(line),
    signal: never,
  });
  t.equal(code, 0, "every pull arrived whole");
  const text = lines.join("\n");
  t.match(text, /SIMULATED long link: 40 ms per request/);
  const row = (name: string): string => lines.find((line) => line.trimStart().startsWith(`${name} `)) ?? "";
  t.match(row("1.0 cold"), / 24\.0 MB +24\.0 MB +\d+ +0 %/);
  t.match(row("1.0 warm"), / 24\.0 MB +0 B +0 +100 %/, "the warm pull crosses nothing");
  t.match(
    row("2.0 by a fleet"),
    / 280 MB +8\.0\d MB +\d+ +97\.1 %/,
    "the new layer crosses once for all ten",
  );
  t.notMatch(text, /Ctrl-C/);
  t.notOk(existsSync(cacheDirectory(lines)));
});

t.test("docker with the demo as registry mirror pulls busybox and runs it", async (t) => {
  if (!requires(t, ...dockerPrograms)) return;
  const leaving = new AbortController();
  t.teardown(() => leaving.abort());
  const up = Promise.withResolvers<string>();
  const print = (line: string): void => {
    const [, url] =
      /docker pull busybox +\(with "registry-mirrors": \["([^"]+)"\] in daemon\.json\)/.exec(line) ?? [];
    if (url !== undefined) up.resolve(url);
  };
  const finished = runDemo({ once: false, port: 0, print, signal: leaving.signal });
  const daemon = await startDockerd(t, await up.promise);
  await daemon.pull("busybox", 60_000);
  t.match(await daemon.greet("busybox"), /stands in for busybox/);
  leaving.abort();
  t.equal(await finished, 0);
});

t.test("without once it stays up until the signal, with the lines to try", async (t) => {
  const leaving = new AbortController();
  t.teardown(() => leaving.abort());
  const lines: string[] = [];
  const up = Promise.withResolvers<void>();
  const print = (line: string): void => {
    lines.push(line);
    if (line.includes("Ctrl-C")) up.resolve();
  };
  const finished = runDemo({ once: false, port: 0, print, signal: leaving.signal });
  await Promise.race([up.promise, finished]);
  const pullLine = lines.find((line) => line.includes("docker pull")) ?? "";
  const [, host, image, tag] = /docker pull (127\.0\.0\.1:\d+)\/(\S+):(\S+)$/.exec(pullLine) ?? [];
  const manifest = await request(`http://${host}/v2/${image}/manifests/${tag}`);
  t.equal(manifest.statusCode, 200, "the image in the docker line is there");
  await manifest.body.dump();
  for (const line of lines) {
    const [, user, url] = /^ +curl (?:-u (\S+) )?(\S+)$/.exec(line) ?? [];
    if (url === undefined) continue;
    const headers = user ? { authorization: `Basic ${Buffer.from(user).toString("base64")}` } : {};
    const { statusCode, body } = await request(url, { headers });
    t.equal(statusCode, 200, line);
    await body.dump();
  }
  t.ok(existsSync(cacheDirectory(lines)), "the named directory is the real one");
  leaving.abort();
  t.equal(await finished, 0);
  t.notOk(existsSync(cacheDirectory(lines)));
  await t.rejects(request(`http://${host}/v2/`), { code: "ECONNREFUSED" });
});
