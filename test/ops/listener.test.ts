import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import type { Api } from "../../src/ops/api/api.ts";
import { Health } from "../../src/ops/health.ts";
import { createOpsListener, type OpsListenerOptions } from "../../src/ops/listener.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { createLogger } from "../../src/telemetry/lines/json-log.ts";
import { createMetrics } from "../../src/telemetry/metrics/prometheus.ts";
import { parseExposition, sampleOf } from "../fixtures/exposition.ts";
import { gate } from "../fixtures/manual-time.ts";
import { rememberingOutput, sampleGauges } from "../fixtures/telemetry-samples.ts";

async function start(t: Test, changes: Partial<OpsListenerOptions> = {}) {
  const health = new Health();
  const output = rememberingOutput();
  const gauges = sampleGauges({ ready: () => health.ready() });
  const metrics = createMetrics({ gauges, upstreams: ["hub"], version: "1.2.3" });
  const listener = createOpsListener({
    health,
    metrics,
    log: createLogger("info", output).logger,
    ...changes,
  });
  const address = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.teardown(() => listener.close());
  return {
    health,
    listener,
    address,
    lines: output.lines,
    ask: (path: string, method?: string) => ask(address.port, path, method),
  };
}

async function ask(port: number, path: string, method = "GET") {
  const request = httpRequest({ host: "127.0.0.1", port, path, method, agent: false }).end();
  const [response] = await once(request, "response");
  return { status: response.statusCode as number, headers: response.headers, body: await text(response) };
}

/** Sends bytes as they are, and gives everything that comes back until the end of the connection. */
async function sendRaw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(bytes);
  return text(socket);
}

t.test("/livez is ok as long as the process turns", async (t) => {
  const { ask } = await start(t);
  const { status, body, headers } = await ask("/livez");
  t.equal(status, 200);
  t.equal(body, "ok\n");
  t.match(headers, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": "3",
    "cache-control": "no-store",
  });
});

t.test("/readyz follows health and gives the reasons", async (t) => {
  const { ask, health } = await start(t);
  health.set("listening", true);
  t.match(await ask("/readyz"), { status: 503, body: "listening ok\nstore failed: not yet\ndraining no\n" });
  health.set("store", true);
  health.set("upstream hub", false, "timeout");
  t.match(await ask("/readyz"), {
    status: 200,
    body: "listening ok\nstore ok\ndraining no\nupstream hub failed: timeout (not required)\n",
  });
  health.draining(true);
  t.match(await ask("/readyz"), { status: 404, body: /^draining yes$/m });
  health.set("store", false);
  t.match(await ask("/readyz"), { status: 503 }, "trouble goes before");
});

t.test("/metrics is the exposition", async (t) => {
  const { ask, health } = await start(t);
  const before = await ask("/metrics");
  t.equal(before.status, 200);
  t.equal(before.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  t.equal(sampleOf(parseExposition(before.body), "entrepot_ready"), 0);
  health.set("listening", true);
  health.set("store", true);
  const after = await ask("/metrics?name=x");
  t.equal(sampleOf(parseExposition(after.body), "entrepot_ready"), 1);
});

t.test("HEAD has the headers of GET and no body", async (t) => {
  const { ask } = await start(t);
  for (const path of ["/livez", "/readyz", "/healthz", "/metrics"]) {
    const { status, headers, body } = await ask(path, "HEAD");
    t.equal(status, path === "/readyz" || path === "/healthz" ? 503 : 200, path);
    t.ok(Number(headers["content-length"]) > 0);
    t.equal(body, "");
  }
});

t.test("everything else is 404 and says what there is", async (t) => {
  const { ask } = await start(t);
  const paths = [
    "/",
    "/v2/",
    "/livez/",
    "//livez",
    "/LIVEZ",
    "/%6civez",
    "/x/../livez",
    "/metrics%3F",
    "/__proto__",
  ];
  for (const path of paths)
    t.match(await ask(path), { status: 404, body: "here are: /livez /readyz /healthz /metrics\n" }, path);
  t.match(await ask("http://127.0.0.1/livez"), { status: 404 }, "absolute form");
});

t.test("other methods are 405, and their bodies are not read", async (t) => {
  const { ask, address } = await start(t);
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    t.match(await ask("/livez", method), { status: 405, headers: { allow: "GET, HEAD" } }, method);
  const head = "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
  const answer = await sendRaw(address.port, `${head}some of it`);
  t.match(
    answer,
    /^HTTP\/1\.1 405 .*connection: close/is,
    "the connection ends without the rest of the body",
  );
  const chunked = "GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
  t.match(await sendRaw(address.port, chunked), /^HTTP\/1\.1 200 .*connection: close/is);
});

t.test("an oversized header block is refused", async (t) => {
  const { address } = await start(t);
  const answer = await sendRaw(
    address.port,
    `GET /livez HTTP/1.1\r\nHost: x\r\nX: ${"y".repeat(9000)}\r\n\r\n`,
  );
  t.match(answer, /^HTTP\/1\.1 431 /);
});

t.test("any Host may ask for health and metrics; all else is for names of this machine", async (t) => {
  const { address } = await start(t, { hosts: () => ["Node-1", "mirror.example.com"] });
  const under = async (host: string, path: string) => {
    const answer = await sendRaw(
      address.port,
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    );
    return Number(answer.slice(9, 12));
  };
  for (const host of [
    "evil.example",
    "evil.example:5001",
    "",
    "localhost.evil.example",
    "1.2.3.4.evil",
    "[x]",
  ]) {
    for (const path of ["/livez", "/metrics"]) t.equal(await under(host, path), 200, `${host} ${path}`);
    t.equal(await under(host, "/readyz"), 503);
    for (const path of ["/", "/stats.json", "/stats/events", "/explain.json?reference=a", "/hooks/generic"])
      t.equal(await under(host, path), 421, `${host} ${path}`);
  }
  const own = ["127.0.0.1", "10.1.2.3:5001", "[::1]", "[2001:db8::1]:5001", "localhost", "LOCALHOST:80"];
  for (const host of [...own, "node-1", "Mirror.example.com:5001"])
    t.equal(await under(host, "/stats.json"), 404, `${host}: no such page here, but a name of this machine`);
  t.match(await sendRaw(address.port, "GET /stats.json HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 421 /);
});

t.test("behind the password is everything but health, metrics and webhooks", async (t) => {
  const access = { username: undefined, password: fixedSecret(new Secret("hunter2")), token: undefined };
  const webhooks = { receive: async () => ({ status: 202, body: "taken\n" }) };
  const { address } = await start(t, { access: () => access, webhooks });
  const status = async (path: string, head = "", method = "GET") => {
    const lines = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${head}Connection: close\r\n\r\n`;
    return Number((await sendRaw(address.port, lines)).slice(9, 12));
  };
  t.equal(await status("/livez"), 200);
  t.equal(await status("/metrics"), 200);
  t.equal(await status("/hooks/generic", "", "POST"), 202);
  const shown = `Authorization: Basic ${Buffer.from("ann:hunter2").toString("base64")}\r\n`;
  for (const path of ["/", "/stats.json", "/nothing", "/livez/", "/__proto__"]) {
    t.equal(await status(path), 401, path);
    t.equal(await status(path, shown), 404, path);
  }
  const asked = await sendRaw(address.port, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
  t.match(asked, /^www-authenticate: Basic realm="entrepot"/im, "a browser asks for it without a script");
  t.equal(await status("/", "Origin: http://evil.example\r\n", "POST"), 401);
  t.equal(await status("/hooks/else", shown, "POST"), 202, "webhooks have their own rules");
});

t.test("what changes something comes from no other site, whatever will be changed", async (t) => {
  const stats = {
    paths: ["/change"],
    has: (path: string) => path === "/change",
    answer: async () => {},
    end: () => {},
  };
  const { address } = await start(t, { stats });
  const status = async (head: string, path = "/change") => {
    const lines = `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${head}Connection: close\r\nContent-Length: 0\r\n\r\n`;
    return Number((await sendRaw(address.port, lines)).slice(9, 12));
  };
  const json = "Content-Type: application/json\r\n";
  t.equal(await status(""), 403);
  t.equal(await status(`${json}Origin: http://evil.example\r\n`), 403);
  t.equal(await status(`${json}Sec-Fetch-Site: same-site\r\n`), 403);
  t.equal(await status(`${json}Origin: http://localhost\r\n`), 405, "there is nothing yet that takes one");
  t.equal(await status("", "/nothing"), 404);
  t.equal(await status("", "/livez"), 405);
});

t.test(
  "where other machines reach it there is no page without a password, and on loopback as ever",
  async (t) => {
    for (const [host, page] of [
      ["0.0.0.0", 403],
      ["127.0.0.1", 404],
    ] as const) {
      const open = createOpsListener({
        health: new Health(),
        metrics: { contentType: "text/plain", render: async () => "" },
        log: createLogger("info", rememberingOutput()).logger,
      });
      const { port } = await open.listen({ host, port: 0 });
      t.teardown(() => open.close());
      for (const path of ["/", "/stats.json", "/nothing"]) {
        const answer = await sendRaw(port, `GET ${path} HTTP/1.0\r\nHost: localhost\r\n\r\n`);
        t.equal(Number(answer.slice(9, 12)), page, `${host} ${path}`);
      }
      const health = await sendRaw(port, "GET /livez HTTP/1.0\r\n\r\n");
      t.match(health, /^HTTP\/1\.1 200 /);
    }
  },
);

t.test("256 connections that are held keep nobody from /readyz", async (t) => {
  const { address, ask } = await start(t);
  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  let closed = 0;
  const hold = async (): Promise<Socket> => {
    const socket = connect(address.port, "127.0.0.1");
    socket.on("error", () => {}).once("close", () => closed++);
    sockets.push(socket);
    await once(socket, "connect");
    return socket;
  };
  const first = await hold();
  for (let i = 1; i < 256; i++) await hold();
  first.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  await once(first, "data");
  for (let i = 0; i < 3; i++) t.equal((await ask("/readyz")).status, 503, "not ready, and says so");
  t.ok(closed <= 3, "and the 256 are let go one by one");
  t.notOk(first.destroyed, "the longest without a request first");
  for (let i = 0; i < 44; i++) await hold();
  t.equal((await ask("/readyz")).status, 503);
});

t.test("scrapes that come together share one rendering", async (t) => {
  let renderings = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  const { ask } = await start(t, {
    metrics: {
      contentType: "text/plain",
      render() {
        renderings++;
        return promise;
      },
    },
  });
  const answers = Promise.all([ask("/metrics"), ask("/metrics"), ask("/metrics")]);
  t.equal((await ask("/livez")).status, 200, "and nothing else waits for it");
  resolve("m 1\n");
  t.strictSame(
    (await answers).map(({ body }) => body),
    ["m 1\n", "m 1\n", "m 1\n"],
  );
  t.equal(renderings, 1);
  await ask("/metrics");
  t.equal(renderings, 2, "the next scrape renders anew");
});

t.test("a rendering that fails is a 500 and a line, and the next one works", async (t) => {
  let broken = true;
  const { ask, lines } = await start(t, {
    metrics: {
      contentType: "text/plain",
      render: async () => {
        if (broken) throw new Error("no luck");
        return "m 1\n";
      },
    },
  });
  t.match(await ask("/metrics"), { status: 500, body: /the log tells why/ });
  t.match(lines, [{ level: "error", err: { message: "no luck" } }]);
  broken = false;
  t.match(await ask("/metrics"), { status: 200, body: "m 1\n" });
});

t.test("a taken port is Node's own error", async (t) => {
  const holder = createServer().listen(0, "127.0.0.1");
  t.teardown(() => holder.close());
  await once(holder, "listening");
  const { port } = holder.address() as { port: number };
  const listener = createOpsListener({
    health: new Health(),
    metrics: { contentType: "text/plain", render: async () => "" },
    log: createLogger("info", rememberingOutput()).logger,
  });
  await t.rejects(listener.listen({ host: "127.0.0.1", port }), {
    code: "EADDRINUSE",
    syscall: "listen",
    port,
  });
  await listener.close();
});

t.test("close ends what idles, finishes what runs, and may be called twice", async (t) => {
  const rendering = Promise.withResolvers<string>();
  const { promise: asked, resolve: isAsked } = Promise.withResolvers<void>();
  const { ask, listener, address } = await start(t, {
    metrics: {
      contentType: "text/plain",
      render() {
        isAsked();
        return rendering.promise;
      },
    },
  });
  const idle = connect(address.port, "127.0.0.1");
  idle.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  await once(idle, "data");
  const scrape = ask("/metrics");
  await asked;
  const closed = Promise.all([listener.close(), listener.close()]);
  await once(idle, "close");
  rendering.resolve("m 1\n");
  t.match(await scrape, { status: 200, body: "m 1\n" });
  await closed;
  await t.rejects(ask("/livez"), { code: "ECONNREFUSED" });
});

t.test("close does not wait for an answer that never comes", async (t) => {
  const { promise: asked, resolve: isAsked } = Promise.withResolvers<void>();
  const { ask, listener } = await start(t, {
    metrics: {
      contentType: "text/plain",
      render() {
        isAsked();
        return new Promise<string>(() => {});
      },
    },
  });
  const scrape = t.rejects(ask("/metrics"), { code: "ECONNRESET" });
  await asked;
  await listener.close();
  await scrape;
});

t.test("what the API works for may take longer than a connection may be idle", async (t) => {
  const [api, pins, never] = [gate(), gate(), gate()];
  t.teardown(never.open);
  const { address, ask } = await start(t, {
    timeouts: { idle: 100, answer: 60_000 },
    api: {
      paths: ["/api/v1/readiness"],
      answer: async () => {
        await api.opened;
        return { status: 200, body: "late" };
      },
    } as unknown as Api,
    changing: [
      {
        paths: ["/api/v1/pins"],
        has: (path) => path === "/api/v1/pins",
        answer: async () => {
          await pins.opened;
          return { status: 201, type: "text/plain", body: "late" };
        },
      },
    ],
    webhooks: {
      receive: async () => {
        await never.opened;
        throw new Error("nobody waits any more");
      },
    },
  });
  const late = [ask("/api/v1/readiness"), ask("/api/v1/pins")];
  // Of three that do the same the one that was asked last is closed.
  await t.rejects(ask("/hooks/generic"), { code: "ECONNRESET" });
  api.open();
  pins.open();
  t.strictSame(
    (await Promise.all(late)).map(({ status }) => status),
    [200, 201],
  );
  t.equal((await sendRaw(address.port, "")).length, 0, "without a request it is closed as ever");
});
