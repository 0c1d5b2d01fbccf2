import { once } from "node:events";
import { createServer } from "node:net";
import t from "tap";
import type { App } from "../../src/app.ts";
import type { Config } from "../../src/config/config.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { upstreamUrl } from "../fixtures/loading.ts";
import { never, scriptedApp } from "../fixtures/scripted-app.ts";

const env = upstreamUrl;
const withApp = (app: App, more: Record<string, string> = {}, argv: readonly string[] = ["serve"]) =>
  commandLine(argv, { env: { ...env, ...more }, build: () => app });

t.test("started, drained at a signal, stopped: exit code 0 and nothing printed", async (t) => {
  const { app, calls } = scriptedApp();
  const line = withApp(app);
  line.signal("SIGTERM");
  t.equal(await line.exit, 0);
  t.same(calls, ["start", "drain", "stop"]);
  t.equal(line.out() + line.err(), "");
  t.equal(line.listeners(), 0);
});

t.test("serve is what happens without a command, and the configuration reaches the app", async (t) => {
  const configs: Config[] = [];
  const { app } = scriptedApp();
  const line = commandLine(["--config", "m.yaml"], {
    env: { ENTREPOT_LISTEN: ":6000" },
    files: { "m.yaml": "upstream: {url: https://registry.example.com}\n" },
    build: (config) => {
      configs.push(config);
      return app;
    },
  });
  line.signal("SIGINT");
  t.equal(await line.exit, 0);
  t.match(configs, [{ listen: { port: 6000 }, upstreams: [{ name: "upstream" }] }]);
});

t.test("a warning is printed, and the app is started", async (t) => {
  const { app, calls } = scriptedApp();
  const line = commandLine(["--config", "m.yaml"], {
    files: { "m.yaml": "upstream: {url: http://a.example.com, authorization: Bearer x}\n" },
    build: () => app,
  });
  line.signal("SIGTERM");
  t.equal(await line.exit, 0);
  t.match(line.err(), /^entrepot: warning: upstream\.url /);
  t.same(calls, ["start", "drain", "stop"]);
});

t.test(
  "registries that do not answer as configured are warnings once it runs, and stop nothing",
  async (t) => {
    const { app, calls } = scriptedApp();
    const line = commandLine(["serve"], {
      env,
      build: () => app,
      checkVersions: async () => {
        t.same(calls, ["start"]);
        queueMicrotask(() => line.signal("SIGTERM"));
        return ["upstream upstream: no"];
      },
    });
    t.equal(await line.exit, 0);
    t.equal(line.err(), "entrepot: warning: upstream upstream: no\n");
  },
);

t.test("--offline asks none", async (t) => {
  const { app, calls } = scriptedApp();
  const checkVersions = async () => ["asked"];
  const line = commandLine(["serve", "--offline"], { env, build: () => app, checkVersions });
  line.signal("SIGTERM");
  t.equal(await line.exit, 0);
  t.same(calls, ["start", "drain", "stop"]);
  t.equal(line.err(), "");
});

t.test("the end does not wait for registries that are slow to answer", async (t) => {
  const { app } = scriptedApp();
  const line = commandLine(["serve"], {
    env,
    build: () => app,
    checkVersions: (_upstreams, signal) => {
      queueMicrotask(() => line.signal("SIGTERM"));
      return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    },
  });
  t.equal(await line.exit, 0);
  t.equal(line.err(), "");
});

t.test("a wrong configuration builds nothing: exit code 2", async (t) => {
  let built = 0;
  const build = () => {
    built++;
    return scriptedApp().app;
  };
  const line = commandLine([], { env: {}, build });
  t.equal(await line.exit, 2);
  t.match(line.err(), /no registry to mirror is configured/);
  t.equal(built, 0);
});

t.test("a drain that takes longer than drainTimeout is cut: exit code 1", async (t) => {
  const { app, calls } = scriptedApp({ drain: never });
  const line = withApp(app, { ENTREPOT_DRAIN_TIMEOUT: "1ms" });
  line.signal("SIGTERM");
  t.equal(await line.exit, 1);
  t.same(calls, ["start", "drain", "stop"]);
});

t.test("a second signal cuts the drain", async (t) => {
  const { app, calls, called } = scriptedApp({ drain: never });
  const line = withApp(app);
  line.signal("SIGTERM");
  await called("drain");
  line.signal("SIGTERM");
  t.equal(await line.exit, 1);
  t.same(calls, ["start", "drain", "stop"]);
});

t.test("a signal while starting is answered after the start, a second one at once", async (t) => {
  const started = Promise.withResolvers<Awaited<ReturnType<App["start"]>>>();
  const first = scriptedApp({ start: () => started.promise });
  const patient = withApp(first.app);
  await first.called("start");
  patient.signal("SIGTERM");
  t.same(first.calls, ["start"]);
  started.resolve({ listen: { host: "127.0.0.1", port: 1 }, ops: { host: "127.0.0.1", port: 2 } });
  t.equal(await patient.exit, 0);
  t.same(first.calls, ["start", "drain", "stop"]);

  const second = scriptedApp({ start: never });
  const impatient = withApp(second.app);
  await second.called("start");
  impatient.signal("SIGTERM");
  impatient.signal("SIGTERM");
  t.equal(await impatient.exit, 1);
  t.same(second.calls, ["start", "stop"]);
});

t.test("draining or stopping that fails is said, and exit code 1", async (t) => {
  const drains = scriptedApp({ drain: () => Promise.reject(new Error("lost count")) });
  const first = withApp(drains.app);
  first.signal("SIGTERM");
  t.equal(await first.exit, 1);
  t.equal(first.err(), "entrepot: draining failed: lost count\n");
  t.same(drains.calls, ["start", "drain", "stop"]);

  const stops = scriptedApp({ stop: () => Promise.reject(new Error("stuck")) });
  const second = withApp(stops.app);
  second.signal("SIGTERM");
  t.equal(await second.exit, 1);
  t.equal(second.err(), "entrepot: stopping failed: stuck\n");
});

t.test("stopping has a bound too", async (t) => {
  const wait = globalThis.setTimeout;
  const shortened = (callback: (value: unknown) => void, delay: number, value: unknown) =>
    wait(callback, delay === 10_000 ? 1 : delay, value);
  t.intercept(globalThis, "setTimeout", { value: shortened });
  const line = withApp(scriptedApp({ stop: never }).app);
  line.signal("SIGTERM");
  t.equal(await line.exit, 1);
  t.equal(line.err(), "entrepot: stopping took longer than 10 s, gave up\n");
});

t.test("a taken port is one line that names the address and the setting", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  t.teardown(() => taken.close());
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  for (const [variable, setting] of [
    ["ENTREPOT_LISTEN", "listen"],
    ["ENTREPOT_OPS_LISTEN", "opsListen"],
  ] as const) {
    const { app, calls } = scriptedApp({
      start: async () => {
        const server = createServer().listen(port, "127.0.0.1");
        await once(server, "listening");
        throw new Error("the port was free");
      },
    });
    const line = withApp(app, { [variable]: `127.0.0.1:${port}` });
    t.equal(await line.exit, 1);
    t.equal(
      line.err(),
      `entrepot: cannot listen on 127.0.0.1:${port}: another program already listens there. Choose another address with ${variable}, or ${setting} in the configuration file.\n`,
    );
    t.same(calls, ["start", "stop"], "what was opened is closed");
  }
});

t.test("an app that cannot even be built is exit code 1", async (t) => {
  const line = commandLine(["serve"], {
    env,
    build: () => {
      throw new Error("no memory");
    },
  });
  t.equal(await line.exit, 1);
  t.equal(line.err(), "entrepot: cannot start: no memory\n");
  t.equal(line.listeners(), 0);
});

t.test("signals that end nothing are told to the app, from the start on", async (t) => {
  const started = Promise.withResolvers<void>();
  const { app, calls, called } = scriptedApp({
    start: async () => {
      await started.promise;
      return { listen: { host: "", port: 1 }, ops: { host: "", port: 2 } };
    },
  });
  const line = withApp(app);
  await called("start");
  line.harmlessSignal("SIGUSR1");
  started.resolve();
  line.harmlessSignal("SIGUSR2");
  line.signal("SIGTERM");
  t.equal(await line.exit, 0);
  t.same(calls, ["start", "SIGUSR1", "SIGUSR2", "drain", "stop"]);
  t.equal(line.listeners(), 0);
});
