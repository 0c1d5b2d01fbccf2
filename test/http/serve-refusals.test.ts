// What an upstream refuses to let be read is its word, and no outage; what stands before it is not.
import t, { type Test } from "tap";
import { Secret, type SecretSource } from "../../src/ports/secret.ts";
import { makeImage } from "../fixtures/images.ts";
import { ask, type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { type Fault, type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [100_000], seed: "refused" });
const layer = `/v2/team/app/blobs/${image.layers[0]?.digest}`;
const path = "/v2/team/app/manifests/1";
const json = { "content-type": "application/json" };
const statuses = [400, 403, 406, 409, 412, 413, 418, 422, 423, 451];

function errors(message: string, code = "PROJECTPOLICYVIOLATION"): string {
  return JSON.stringify({ errors: [{ code, message }] });
}

interface Setup {
  readonly upstream: ScriptedUpstream;
  readonly mirror: Mirror;
  readonly time: { now: number };
}

/** A mirror that has the tag, whose time to live is over. */
async function setUp(t: Test, options: MirrorOptions = {}): Promise<Setup> {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const time = { now: Date.now() };
  const mirror = await startMirror(t, upstream, { clock: () => time.now, ...options });
  t.equal((await mirror.get(path)).status, 200);
  time.now += 61_000;
  upstream.forget();
  return { upstream, mirror, time };
}

t.test("a refusal is passed on in upstream's words, and no cached tag is given against it", async (t) => {
  const { upstream, mirror, time } = await setUp(t);
  for (const status of statuses) {
    const said = errors("5 vulnerabilities", "POLICY");
    const told = { warning: '299 - "ask security"', "ratelimit-remaining": "7" };
    const heal = upstream.fault(({ method, kind }) =>
      kind === "ping"
        ? undefined
        : { status, headers: { ...json, ...told }, ...(method === "HEAD" ? {} : { body: said }) },
    );
    upstream.forget();
    const answer = await mirror.get(path);
    t.match(answer, { status, headers: { ...json, ...told } });
    const code = status === 403 ? "DENIED" : "POLICY";
    t.same(JSON.parse(answer.body.toString()), { errors: [{ code, message: "5 vulnerabilities" }] });
    t.same(
      upstream.requests.filter(({ kind }) => kind !== "ping").map(({ method }) => method),
      ["HEAD", "GET"],
      "the words cost one GET",
    );
    t.equal((await mirror.ask("HEAD", path)).status, status);
    t.equal((await mirror.get("/v2/team/app/manifests/2")).status, status, "what was never here too");
    t.equal((await mirror.get(layer)).status, status);
    t.equal((await mirror.ask("HEAD", layer)).status, status);
    t.equal((await mirror.get("/v2/team/app/tags/list")).status, status);
    await mirror.line((line) => line.status === status && line.result === "denied");
    heal();
    t.equal((await mirror.get(path)).status, 200, "until it is allowed again");
    time.now += 61_000;
  }
  t.notOk(mirror.lines.some(({ msg }) => /circuit/.test(String(msg))));
});

t.test("404 keeps upstream's words, and our code", async (t) => {
  const { upstream, mirror } = await setUp(t);
  upstream.fault(({ method }) => ({
    status: 404,
    headers: json,
    ...(method === "HEAD" ? {} : { body: errors("moved to other/app") }),
  }));
  for (const target of [path, "/v2/team/app/manifests/2"]) {
    const answer = await mirror.get(target);
    t.equal(answer.status, 404);
    t.match(JSON.parse(answer.body.toString()).errors[0], {
      code: "MANIFEST_UNKNOWN",
      message: "moved to other/app",
    });
  }
  const tags = await mirror.get("/v2/team/app/tags/list");
  t.match(JSON.parse(tags.body.toString()).errors[0], {
    code: "NAME_UNKNOWN",
    message: "moved to other/app",
  });
});

t.test("words: the first 1,024 bytes, without what terminals obey; none are no trouble", async (t) => {
  const { upstream, mirror } = await setUp(t);
  const cases: [string, string | RegExp][] = [
    [errors(`${"é".repeat(511)}€€`), `${"é".repeat(511)}`],
    [errors("a\u001b[31mred\u009b1m\r\n\u0000"), "a\\u001b[31mred\\u009b1m\\u000d\\u000a\\u0000"],
    [errors('<script>"\\'), '<script>"\\'],
    [errors("", "X"), "the upstream registry refuses this (412)"],
    ["{}", "the upstream registry refuses this (412)"],
    ['{"errors":{"message":"x"}}', "the upstream registry refuses this (412)"],
    ["not JSON", "the upstream registry refuses this (412)"],
    [errors("x".repeat(100_000)), "the upstream registry refuses this (412)"],
  ];
  for (const [body, message] of cases) {
    const heal = upstream.fault(() => ({ status: 412, headers: json, body }));
    const answer = await mirror.get("/v2/team/app/manifests/new");
    t.equal(answer.status, 412);
    t.equal(JSON.parse(answer.body.toString()).errors[0].message, message);
    heal();
  }
  const heal = upstream.fault(() => ({ status: 412, headers: json, body: errors("x", "<b>") }));
  const answer = await mirror.get("/v2/team/app/manifests/new");
  t.match(
    JSON.parse(answer.body.toString()).errors[0],
    { code: "DENIED", message: "x" },
    "a code is one word",
  );
  heal();
});

t.test("a refusal with a web page is not the registry's word: the cached tag goes on", async (t) => {
  const { upstream, mirror, time } = await setUp(t);
  const pages: readonly Fault[] = [
    { headers: { "content-type": "text/html; charset=utf-8" }, body: "<html>blocked" },
    { headers: json, body: "\n <!DOCTYPE html><p>says it is none" },
  ];
  for (const status of [400, 403, 404, 406, 409, 412, 418, 422, 451])
    for (const page of pages) {
      const heal = upstream.fault(() => ({ ...page, status }));
      const answer = await mirror.get(path);
      t.match(answer, { status: 200, headers: { "cache-status": /detail=protocol/ } }, `${status}`);
      t.ok(answer.body.equals(image.manifest));
      t.equal(
        (await mirror.get("/v2/team/app/manifests/2")).status,
        502,
        "nothing is said of what is not here",
      );
      heal();
      time.now += 10_000;
    }
  t.equal(mirror.lines.filter(({ result }) => result === "stale").length, 18);
});

t.test("405 to HEAD means GET", async (t) => {
  const { upstream, mirror } = await setUp(t);
  upstream.fault(({ method }) => (method === "HEAD" ? { status: 405 } : undefined));
  t.equal((await mirror.get(path)).status, 200);
  t.same(
    upstream.requests.map(({ method }) => method),
    ["HEAD", "GET"],
  );
  await mirror.line(({ result }) => result === "revalidated");
});

t.test("416 to a range of the mirror's own: the client, who asked for all, gets all", async (t) => {
  const { upstream, mirror } = await setUp(t, { upstream: { segments: 1 } });
  let gets = 0;
  upstream.fault(({ kind, method, headers }) => {
    if (kind !== "blob" || method !== "GET") return undefined;
    if (headers.range !== undefined) return { status: 416 };
    return gets++ === 0 ? { cutAfter: 50_000 } : undefined;
  });
  const answer = await mirror.get(layer);
  t.match(answer, { status: 200, complete: true });
  t.ok(answer.body.equals(image.layers[0]?.bytes as Buffer));
});

t.test("what upstream tells beside what it gives is passed on: Warning and RateLimit", async (t) => {
  const { upstream, mirror } = await setUp(t);
  const headers = { warning: '299 - "old"', "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "98" };
  upstream.fault(({ method }) => (method === "HEAD" ? { headers } : undefined));
  t.match((await mirror.get(path)).headers, headers);
  const { headers: cached } = await mirror.get(path);
  t.notOk(cached.warning ?? cached["ratelimit-remaining"], "not when upstream was not asked");
});

t.test("400, 401 and 403 first renew the credentials, once", async (t) => {
  let password = "old";
  const source: SecretSource = { problem: undefined, read: async () => new Secret(password) };
  const auth = { kind: "basic", username: "ci", password: source } as const;
  const upstream = await startUpstream(t, { anonymous: true });
  upstream.addImage("team/app", "1", image);
  const time = { now: Date.now() };
  const mirror = await startMirror(t, upstream, { clock: () => time.now, upstream: { auth } });
  t.equal((await mirror.get(path)).status, 200);
  for (const status of [400, 401, 403]) {
    const wanted = `new ${status}`;
    const asked = `Basic ${btoa(`ci:${wanted}`)}`;
    let changes = false;
    const heal = upstream.fault(({ headers }) => {
      if (headers.authorization === asked) return undefined;
      // It changes while the request with the old one is under way.
      if (changes) password = wanted;
      return { status, headers: json, body: errors("Your authorization token has expired.", "DENIED") };
    });
    time.now += 61_000;
    upstream.forget();
    const stale = await mirror.get(path);
    t.match(stale, { status: 200, headers: { "cache-status": /detail=auth/ } }, "nobody has another one yet");
    t.equal(
      upstream.count({ kind: "manifest" }),
      status === 401 ? 1 : 2,
      "asked no oftener, but for the words",
    );
    const cold = await mirror.get("/v2/team/app/manifests/2");
    t.match([cold.status, cold.body.toString()], [502, /\(auth\)/], "told as a fault of the account");
    changes = true;
    time.now += 10_000;
    upstream.forget();
    t.match((await mirror.get(path)).headers, { "cache-status": /fwd-status=200/ }, `${status}`);
    t.same(
      upstream.requests.filter(({ kind }) => kind === "manifest").map((request) => request.status),
      [status, 200],
    );
    heal();
  }
});

t.test(
  "an account that is refused is an outage whatever the words; a repository that is refused is not",
  async (t) => {
    for (const status of [400, 401, 403])
      await t.test(`${status}`, async (t) => {
        const { upstream, mirror, time } = await setUp(t);
        const headers = { ...json, ...(status === 401 ? { "www-authenticate": 'Basic realm="x"' } : {}) };
        const refusal = { status, headers, body: errors("no", "DENIED") };
        let heal = upstream.fault(() => refusal);
        const stale = await mirror.get(path);
        t.match(stale, { status: 200, headers: { "cache-status": /detail=auth/ } }, `${status}`);
        t.match((await mirror.get("/v2/team/app/manifests/2")).status, 502);
        t.match(JSON.parse((await ask(mirror.ops, "GET", "/stats.json")).body.toString()), {
          verdict: { reasons: [/^upstream upstream refuses this mirror's account /] },
        });
        heal();
        time.now += 61_000;
        heal = upstream.fault(({ kind }) => (kind === "ping" ? undefined : refusal));
        const refused = await mirror.get(path);
        t.equal(refused.status, status === 401 ? 403 : status);
        t.match(JSON.parse(refused.body.toString()), { errors: [{ message: "no" }] });
        t.equal((await mirror.ask("HEAD", path)).status, status === 401 ? 403 : status);
        t.equal((await mirror.get(layer)).status, status === 401 ? 403 : status);
        heal();
      });
  },
);
