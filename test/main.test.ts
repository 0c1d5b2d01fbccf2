// main.ts as a process: exit codes, streams, signals, and what ends it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { upstreamUrl } from "./fixtures/loading.ts";
import { compileCache } from "./system/fixtures/child.ts";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** A preloaded module as --import takes it. */
function preload(code: string): string[] {
  return ["--import", `data:text/javascript,${encodeURIComponent(code)}`];
}

const stubbornApp = new URL("fixtures/stubborn-app.ts", import.meta.url).href;
const withStubbornApp = preload(
  `import { registerHooks } from "node:module";
   registerHooks({ resolve: (specifier, context, next) =>
     specifier === "../app.ts" ? { url: ${JSON.stringify(stubbornApp)}, shortCircuit: true } : next(specifier, context) });`,
);

function start(t: Test, argv: readonly string[], env: Record<string, string>, flags: readonly string[] = []) {
  const child = spawn(process.execPath, [...flags, main, ...argv], {
    env: { ...compileCache(), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  return child;
}

async function outcome(
  t: Test,
  argv: readonly string[],
  env: Record<string, string>,
  flags: readonly string[] = [],
) {
  const child = start(t, argv, env, flags);
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  return { out, err, code: code as number | null };
}

t.test("check: 0 and YAML, or 2 and the problems", async (t) => {
  const right = await outcome(t, ["check", "--offline"], upstreamUrl);
  t.match(right, { code: 0, err: "", out: /^listen: 0\.0\.0\.0:5000 # default$/m });
  const wrong = await outcome(t, ["check"], { ...upstreamUrl, ENTREPOT_UPSTREAM_IDLE_TIMEOUT: "30" });
  t.same(wrong, {
    code: 2,
    out: "",
    err: 'entrepot: ENTREPOT_UPSTREAM_IDLE_TIMEOUT: found "30", expected a unit after the number: 30ms, 30s, 30m, 30h or 30d\n',
  });
});

t.test("files are read: the configuration and the password it names", async (t) => {
  const directory = t.testdirName;
  const yaml = `upstream:\n  url: https://registry.example.com\n  username: mirror\n  passwordFile: ${directory}/p.txt\n`;
  t.testdir({ "p.txt": "hunter2\n", "m.yaml": yaml });
  const { code, out, err } = await outcome(t, ["check", "--offline", "--config", `${directory}/m.yaml`], {});
  t.equal(code, 0);
  t.match(out, /passwordFile: .*p\.txt # .*m\.yaml:4:17/);
  t.notMatch(out + err, /hunter2/);
});

t.test("nothing configured: 2, and what to do", async (t) => {
  const { code, out, err } = await outcome(t, [], {});
  t.equal(code, 2);
  t.equal(out, "");
  t.match(err, /ENTREPOT_UPSTREAM_URL=https:/);
});

t.test("--version is that of the package", async (t) => {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  t.same(await outcome(t, ["--version"], {}), { code: 0, out: `${version}\n`, err: "" });
});

t.test("an older Node is refused before anything is loaded", async (t) => {
  const pretend = (version: string) =>
    preload(`Object.defineProperty(process.versions, "node", { value: "${version}" })`);
  for (const version of ["18.20.0", "22.99.9", "24.17.9", "24.18.0"]) {
    const result = await outcome(t, ["--version"], {}, pretend(version));
    t.same(result, { code: 1, out: "", err: `entrepot: needs Node 24.18.1 or later, this is ${version}\n` });
  }
  for (const version of ["24.18.1", "24.100.0", "26.1.0-nightly1"]) {
    t.equal((await outcome(t, ["--version"], {}, pretend(version))).code, 0, version);
  }
});

t.test("what nobody caught is one fatal line of the log, and exit code 1", async (t) => {
  // Fails as soon as main.ts listens for it, while main.ts still loads the rest.
  const fail = (code: string) =>
    preload(
      `process.on("newListener", (name) => name === "unhandledRejection" && setImmediate(() => { ${code} }))`,
    );
  for (const [code, msg] of [
    ['throw new TypeError("boom")', "uncaught exception"],
    ['Promise.reject(new TypeError("boom"))', "unhandled rejection"],
  ] as const) {
    const { code: exit, err } = await outcome(t, [], upstreamUrl, [...withStubbornApp, ...fail(code)]);
    t.equal(exit, 1);
    t.equal(err.trimEnd().split("\n").length, 1, err);
    t.match(JSON.parse(err), {
      level: "fatal",
      msg,
      time: String,
      err: { type: "TypeError", message: "boom", stack: String },
    });
  }
});

t.test("a reader that went away is no failure", async (t) => {
  const child = start(t, ["--help"], {});
  child.stdout.destroy();
  const [err, [code]] = await Promise.all([text(child.stderr), once(child, "close")]);
  t.same({ err, code }, { err: "", code: 0 });
});

/** Resolves when the child has written the line. */
async function saw(child: ReturnType<typeof start>, line: string): Promise<void> {
  let seen = "";
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    seen += String(chunk);
    if (seen.includes(`${line}\n`)) return;
  }
  throw new Error(`ended without ${line}: ${seen}`);
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  t.test(`${signal} drains, stops and ends with 0, even when it is sent twice`, async (t) => {
    const child = start(t, [], upstreamUrl, withStubbornApp);
    await saw(child, "started");
    child.kill(signal);
    child.kill(signal);
    const [out, [code, killedBy]] = await Promise.all([text(child.stdout), once(child, "close")]);
    t.same({ out, code, killedBy }, { out: "draining\nstopped\n", code: 0, killedBy: null });
  });
}

t.test("a repeat that comes when everything is stopped does not change the exit code", async (t) => {
  const child = start(t, [], upstreamUrl, withStubbornApp);
  await saw(child, "started");
  const closed = once(child, "close");
  child.kill("SIGTERM");
  await saw(child, "stopped");
  child.kill("SIGTERM");
  t.same(await closed, [0, null]);
});

t.test("a second signal cuts the drain and ends with 1", async (t) => {
  const child = start(t, [], { ...upstreamUrl, STUBBORN: "yes" }, withStubbornApp);
  await saw(child, "started");
  child.kill("SIGTERM");
  await saw(child, "draining");
  const again = setInterval(() => child.kill("SIGTERM"), 20);
  t.teardown(() => clearInterval(again));
  const [out, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
  t.same({ out, code }, { out: "stopped\n", code: 1 });
});

t.test("SIGHUP, SIGUSR1 and SIGUSR2 end nothing and open no debugger", async (t) => {
  for (const flags of [[], ["--disable-sigusr1"]]) {
    const child = start(t, [], upstreamUrl, [...withStubbornApp, ...flags]);
    const err = text(child.stderr);
    await saw(child, "started");
    for (const signal of ["SIGHUP", "SIGUSR2"] as const) {
      child.kill(signal);
      await saw(child, signal);
    }
    child.kill("SIGUSR1");
    if (flags.length === 0) await saw(child, "SIGUSR1");
    child.kill("SIGTERM");
    const [out, [code, killedBy]] = await Promise.all([text(child.stdout), once(child, "close")]);
    t.same({ out, code, killedBy }, { out: "draining\nstopped\n", code: 0, killedBy: null });
    t.notMatch(await err, "Debugger");
  }
});
