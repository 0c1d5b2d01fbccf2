// A configuration that is read again while requests are served.
import { request } from "node:http";
import t, { type Test } from "tap";
import { plainUpstream } from "../src/config/config.ts";
import { fixedSecret, Secret } from "../src/ports/secret.ts";
import { basicAuth } from "./fixtures/connected-upstream.ts";
import { parseExposition, sampleOf } from "./fixtures/exposition.ts";
import { digestOf, makeImage } from "./fixtures/images.ts";
import { ManualPause } from "./fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, mirrorConfig, startMirror } from "./fixtures/mirror.ts";
import { beginUpload, completed, openRequest } from "./fixtures/push-client.ts";
import { startBoth } from "./fixtures/push-through.ts";
import { type ScriptedUpstream, startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [3_000_000] });
const [layer] = image.layers as [(typeof image.layers)[0]];
const blobPath = `/v2/team/app/blobs/${layer.digest}`;
const tagPath = "/v2/team/app/manifests/1";

interface Reloadable {
  readonly upstream: ScriptedUpstream;
  readonly mirror: Mirror;
  /** Reads the configuration again with these options; `keys` are those of upstreams that have changed, by name. */
  readonly reload: (options: MirrorOptions, keys?: Readonly<Record<string, readonly string[]>>) => boolean;
}

async function start(t: Test, options: MirrorOptions = {}): Promise<Reloadable> {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, options);
  return {
    upstream,
    mirror,
    reload: (changed, keys = {}) => {
      const config = mirrorConfig(upstream, mirror.directory, { ...options, ...changed });
      return mirror.app.reload({ ok: true, config, warnings: [], changes: changesOf(keys) });
    },
  };
}

function changesOf(keys: Readonly<Record<string, readonly string[]>>) {
  const applied = Object.entries(keys).flatMap(([name, each]) =>
    each.map((key) => ({
      key: `upstreams[${name}].${key}`,
      upstream: { name, key },
      text: `upstreams[${name}].${key}: changed`,
    })),
  );
  return { applied, needRestart: [] };
}

async function metric(mirror: Mirror, name: string, labels: Record<string, string> = {}) {
  const text = await (await fetch(new URL("/metrics", mirror.ops))).text();
  return sampleOf(parseExposition(text), name, labels);
}

/** Begins a GET and reads nothing of its body yet; resolves with its head, and with all of the body. */
function begin(mirror: Mirror, path: string) {
  const body = Promise.withResolvers<Buffer>();
  const head = new Promise<{ status: number; cacheStatus: unknown }>((resolve, reject) => {
    const { hostname, port } = mirror.url;
    const sent = request({ hostname, port, path, agent: false }, (response) => {
      resolve({ status: response.statusCode ?? 0, cacheStatus: response.headers["cache-status"] });
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => body.resolve(Buffer.concat(chunks)));
      response.on("error", body.reject);
    });
    sent.on("error", reject);
    sent.end();
  });
  return { head, body: body.promise };
}

t.test("a download goes on over a reload of its upstream, and later clients join it", async (t) => {
  const { upstream, mirror, reload } = await start(t);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 500_000, releaseOn: gate.promise } : undefined,
  );
  const first = begin(mirror, blobPath);
  t.equal((await first.head).status, 200);
  upstream.password = "another";
  const login = { upstream: { auth: basicAuth("ci", "another"), segments: 1 } };
  t.ok(reload(login, { upstream: ["password", "segments"] }));
  const second = begin(mirror, blobPath);
  const { status, cacheStatus } = await second.head;
  t.equal(status, 200);
  t.match(cacheStatus, /collapsed/);
  gate.resolve();
  t.ok((await first.body).equals(layer.bytes));
  t.ok((await second.body).equals(layer.bytes));
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
  t.equal((await mirror.get(tagPath)).status, 200, "a new question goes out with the new password");
  const authorization = upstream.requests
    .filter(({ kind }) => kind === "manifest")
    .map(({ headers }) => headers.authorization);
  t.same(authorization, [`Basic ${Buffer.from("ci:another").toString("base64")}`]);
});

t.test("none of many requests fails while everything that may change does", async (t) => {
  const { upstream, mirror, reload } = await start(t, { tags: { ttl: 0 } });
  const images = Array.from({ length: 12 }, (_, i) => makeImage({ layers: [200_000 + i] }));
  for (const [i, each] of images.entries()) upstream.addImage("team/many", String(i), each);
  let done = false;
  const answers: { status: number; complete: boolean }[] = [];
  const client = async (): Promise<void> => {
    for (let i = 0; !done || i < images.length; i++) {
      const at = i % images.length;
      for (const path of [`manifests/${at}`, `blobs/${images[at]?.layers[0]?.digest}`])
        answers.push(await mirror.get(`/v2/team/many/${path}`));
    }
  };
  const clients = Promise.all([client(), client(), client(), client()]);
  for (let round = 0; round < 20; round++) {
    const even = round % 2 === 0;
    const before = answers.length;
    const taken = reload(
      {
        tags: { ttl: even ? 0 : 60_000 },
        cache: { maxSize: even ? 1e9 : 2e9, scrub: even ? 0 : 3_600_000 },
        limits: { openAnswers: even ? 2 : 4000, coldFills: even ? 1 : 32, waiting: 4000 },
        cacheStatus: even,
        serverTiming: even,
        trustedProxies: even ? [] : ["10.0.0.0/8"],
        upstream: { segments: even ? 8 : 1, maxConnections: even ? 64 : 3, deny: even ? [] : ["secret/**"] },
      },
      { upstream: ["segments", "maxConnections", "deny"] },
    );
    t.ok(taken);
    // Some answers under each of them.
    while (answers.length < before + 10) await mirror.get("/v2/");
  }
  done = true;
  await clients;
  t.same(
    answers.filter(({ status, complete }) => status !== 200 || !complete),
    [],
    `${answers.length} answers`,
  );
  const layers = new Set(images.map(({ layers }) => layers[0]?.digest));
  const got = upstream.requests.filter(
    ({ method, reference }) => method === "GET" && layers.has(reference as never),
  );
  t.equal(got.length, images.length, "each blob came once");
});

t.test("rules count for the next request", async (t) => {
  const { upstream, mirror, reload } = await start(t, { tags: { ttl: 60_000 } });
  t.equal((await mirror.get(tagPath)).status, 200);
  upstream.forget();
  await mirror.get(tagPath);
  t.equal(upstream.count(), 0, "fresh");
  reload({ tags: { ttl: 0 }, cacheStatus: false });
  const answer = await mirror.get(tagPath);
  t.equal(answer.status, 200);
  t.equal(answer.headers["cache-status"], undefined);
  t.equal(upstream.count({ method: "HEAD" }), 1, "asked again");
  reload({ upstream: { deny: ["team/**"] } }, { upstream: ["deny"] });
  t.equal((await mirror.get(tagPath)).status, 403);
  t.equal(upstream.connections, 1, "the client of the upstream is the same");
});

t.test("limits of clients", async (t) => {
  const { upstream, mirror, reload } = await start(t);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) => (kind === "manifest" ? { holdUntil: gate.promise } : undefined));
  const open = [begin(mirror, tagPath), begin(mirror, "/v2/team/app/manifests/2")];
  await upstream.until(() => upstream.count({ kind: "manifest" }) === 2);
  reload({ limits: { openAnswers: 1, waiting: 0 } });
  t.equal((await mirror.get(tagPath)).status, 429, "those that hold a place keep it");
  reload({ limits: { openAnswers: 3, waiting: 0 } });
  t.equal((await mirror.get("/v2/")).status, 200);
  gate.resolve();
  await Promise.all(open.map(({ head }) => head));
});

t.test("an upstream that is added", async (t) => {
  const { mirror, reload } = await start(t);
  const other = await startUpstream(t);
  other.addImage("team/app", "1", image);
  const more = [
    { ...plainUpstream("other", other.url), auth: basicAuth(other.username, other.password), component: "o" },
  ];
  t.equal((await mirror.get("/v2/o/team/app/manifests/1")).status, 404);
  t.ok(reload({ more }));
  t.equal((await mirror.get("/v2/o/team/app/manifests/1")).status, 200);
  t.equal(await metric(mirror, "entrepot_upstream_circuit_state", { upstream: "other", state: "closed" }), 1);
  t.equal(
    await metric(mirror, "entrepot_upstream_requests_total", {
      upstream: "other",
      type: "manifest",
      code: "200",
    }),
    1,
  );
});

t.test("an upstream that is removed: what was begun ends, and then its connections", async (t) => {
  const other = await startUpstream(t);
  const pause = new ManualPause();
  pause.instant = () => true;
  other.addImage("team/app", "1", image);
  const more = [
    { ...plainUpstream("other", other.url), auth: basicAuth(other.username, other.password), component: "o" },
  ];
  const { mirror, reload } = await start(t, { more, pause: pause.pause });
  const gate = Promise.withResolvers<void>();
  other.fault(({ kind }) => (kind === "blob" ? { stallAfter: 500_000, releaseOn: gate.promise } : undefined));
  const running = begin(mirror, `/v2/o/team/app/blobs/${layer.digest}`);
  t.equal((await running.head).status, 200);
  t.ok(reload({ more: [] }));
  t.equal((await mirror.get("/v2/o/team/app/manifests/1")).status, 404);
  gate.resolve();
  t.ok((await running.body).equals(layer.bytes));
  await other.until(() => other.openSockets === 0);
  t.equal(other.count({ kind: "blob", method: "GET" }), 1);
  t.equal(
    await metric(mirror, "entrepot_upstream_circuit_state", { upstream: "other", state: "closed" }),
    undefined,
  );
  const ready = await (await fetch(new URL("/readyz", mirror.ops))).text();
  t.notMatch(ready, "upstream other");
});

t.test(
  "a push goes on over a reload of its upstream, between its requests and in the middle of one",
  async (t) => {
    const options = { push: true, redirectsTo: ["127.0.0.1"] };
    const { upstream, mirror } = await startBoth(t);
    const reload = (segments: number): boolean =>
      mirror.app.reload({
        ok: true,
        config: mirrorConfig(upstream, mirror.directory, { upstream: { ...options, segments } }),
        changes: changesOf({ upstream: ["segments"] }),
        warnings: [],
      });
    // Where the upload goes on is known to this process alone.
    upstream.locations = "foreign";
    const location = await beginUpload(mirror, "team/app");
    t.ok(reload(2));
    const body = layer.bytes.subarray(0, 100_000);
    const patch = openRequest(mirror.url, "PATCH", location, body.length, {
      "content-type": "application/octet-stream",
      "content-range": `0-${body.length - 1}`,
    });
    patch.request.write(body.subarray(0, 50_000));
    await upstream.until(() => upstream.requests.some(({ method }) => method === "PATCH"));
    t.ok(reload(3));
    patch.request.end(body.subarray(50_000));
    const answer = await patch.answer;
    answer.resume();
    t.equal(answer.statusCode, 202);
    const put = completed(String(answer.headers.location), digestOf(body));
    t.equal((await mirror.ask("PUT", put, { "content-length": "0" })).status, 201);
    const refused = mirrorConfig(upstream, mirror.directory, { upstream: { ...options, push: false } });
    const changes = changesOf({ upstream: ["push"] });
    t.ok(mirror.app.reload({ ok: true, config: refused, changes, warnings: [] }));
    t.equal((await mirror.ask("POST", "/v2/team/app/blobs/uploads/")).status, 405);
  },
);

t.test("when one part cannot be made ready nothing changes", async (t) => {
  const { mirror, reload } = await start(t);
  const before = await metric(mirror, "entrepot_config_last_reload_success_timestamp_seconds");
  const tls = { cert: "no certificate", key: new Secret("no key") };
  const taken = reload(
    {
      upstream: { url: new URL("https://registry.example.com"), tls, deny: ["team/**"] },
      cacheStatus: false,
    },
    { upstream: ["url", "tls", "deny"] },
  );
  t.notOk(taken);
  const answer = await mirror.get(tagPath);
  t.equal(answer.status, 200, "neither denied nor asked elsewhere");
  t.ok(answer.headers["cache-status"]);
  t.equal(await metric(mirror, "entrepot_config_last_reload_successful"), 0);
  t.equal(await metric(mirror, "entrepot_config_last_reload_success_timestamp_seconds"), before);
  await mirror.line(
    ({ msg }) => msg === "the configuration was read again and cannot be used: nothing has changed",
  );
  t.ok(reload({}));
  t.equal(await metric(mirror, "entrepot_config_last_reload_successful"), 1);
});

t.test("the log says what has changed, and what needs a restart", async (t) => {
  const { upstream, mirror } = await start(t);
  const config = mirrorConfig(upstream, mirror.directory, { tags: { ttl: 1 } });
  const changes = {
    applied: [{ key: "tags.ttl", text: "tags.ttl: 1m -> 1ms" }],
    needRestart: [{ key: "listen", text: "listen: :5000 -> :6000" }],
  };
  const warnings = [{ key: "upstream.url", message: "plain http" }];
  mirror.app.reload({
    ok: true,
    config: { ...config, log: { level: "error", format: "json" } },
    changes,
    warnings,
  });
  t.match(await mirror.line(({ changed }) => changed !== undefined), {
    level: "info",
    changed: ["tags.ttl: 1m -> 1ms"],
    msg: "the configuration was read again and is used from now on",
  });
  t.match(await mirror.line(({ change }) => change !== undefined), {
    level: "warn",
    change: "listen: :5000 -> :6000",
    msg: "needs a restart",
  });
  t.ok(mirror.lines.some(({ msg }) => msg === "upstream.url: plain http"));
  const lines = mirror.lines.length;
  await mirror.get("/v2/");
  t.equal(mirror.lines.length, lines, "the new level counts");
  const position = { file: "mirror.yaml", line: 2, column: 8 };
  mirror.app.reload({ ok: false, problems: [{ key: "tags.ttl", position, message: "found soon" }] });
  t.match(mirror.lines.at(-1), { level: "error", problems: ["tags.ttl (mirror.yaml:2:8): found soon"] });
});

t.test("hosts of the page and secrets of webhooks", async (t) => {
  const { mirror, reload } = await start(t);
  const hook = (secret: string) =>
    fetch(new URL("/hooks/generic", mirror.ops), {
      method: "POST",
      headers: { authorization: `Bearer ${secret}` },
      body: JSON.stringify({ repository: "team/app", tag: "1", action: "push" }),
    });
  const page = (host: string) =>
    new Promise<number>((resolve) => {
      const { hostname, port } = mirror.ops;
      request({ hostname, port, path: "/stats.json", headers: { host }, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      }).end();
    });
  t.equal((await hook("a-secret-of-16-characters")).status, 404);
  t.equal(await page("cache.example.com"), 421);
  reload({
    opsHosts: ["cache.example.com"],
    webhooks: {
      secrets: { generic: fixedSecret(new Secret("a-secret-of-16-characters")) },
      prefetch: false,
    },
  });
  t.equal((await hook("a-secret-of-16-characters")).status, 202);
  t.equal(await page("cache.example.com"), 200);
});

t.test("what is known of the upstream stays: tags, negative answers, an open circuit", async (t) => {
  const { upstream, mirror, reload } = await start(t, { tags: { ttl: 60_000 } });
  await mirror.get(tagPath);
  t.equal((await mirror.get("/v2/team/app/manifests/none")).status, 404);
  upstream.forget();
  reload({ upstream: { segments: 2 } }, { upstream: ["segments"] });
  await mirror.get(tagPath);
  t.equal((await mirror.get("/v2/team/app/manifests/none")).status, 404);
  t.equal(upstream.count(), 0);
  await upstream.stop();
  for (let i = 0; i < 3; i++) await mirror.get(`/v2/team/app/manifests/away-${i}`);
  const open = { upstream: "upstream", state: "closed" };
  t.equal(await metric(mirror, "entrepot_upstream_circuit_state", open), 0);
  reload({ upstream: { segments: 2, deny: ["secret/**"] } }, { upstream: ["deny"] });
  t.equal(await metric(mirror, "entrepot_upstream_circuit_state", open), 0);
});

t.test("nothing is taken over once the node drains", async (t) => {
  const { mirror, reload } = await start(t);
  await mirror.app.drain();
  t.notOk(reload({ cacheStatus: false }));
});
