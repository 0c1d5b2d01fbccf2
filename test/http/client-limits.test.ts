// One client that takes all it can get, by every way there is, and what others get meanwhile. Everybody comes through
// a trusted proxy here, which says who it is.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import { digestOf, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { quiet } from "../fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { beginUpload } from "../fixtures/push-client.ts";
import { startBoth } from "../fixtures/push-through.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const greedy = "198.51.100.66";
const other = "203.0.113.9";
const trusting = { trustedProxies: ["127.0.0.1"] };
const from = (client: string) => ({ "x-forwarded-for": client });
const blob = (digest: string) => `/v2/team/app/blobs/${digest}`;

/** An upstream that never answers for `count` blobs, and has one ordinary image. */
async function startSlow(t: Test, count: number, options: MirrorOptions) {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [1000, 1001, 1002] });
  upstream.addImage("team/app", "1", image);
  const slow = Array.from({ length: count }, (_, at) => digestOf(Buffer.from(`slow ${at}`)));
  const hangs = new Set<string>(slow);
  upstream.fault(({ reference }) => (hangs.has(reference ?? "") ? { hang: true } : undefined));
  const mirror = await startMirror(t, upstream, { ...trusting, ...options });
  return { upstream, image, slow, mirror };
}

/** Sends a request and reads nothing. */
async function open(mirror: Mirror, path: string, client: string): Promise<Socket> {
  const socket = connect(Number(mirror.url.port), mirror.url.hostname);
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${client}\r\n\r\n`);
  return socket;
}

const blobGets = (upstream: ScriptedUpstream) => upstream.count({ method: "GET", kind: "blob" });

t.test(
  "56 cold blobs of one client leave connections for the others; when it has gone, for itself",
  async (t) => {
    const { upstream, image, slow, mirror } = await startSlow(t, 56, {});
    const sockets = await Promise.all(slow.map((digest) => open(mirror, blob(digest), greedy)));
    await upstream.until(() => blobGets(upstream) === 32);
    const [layer, second] = image.layers;
    const answer = await mirror.get(blob(layer?.digest ?? ""), from(other));
    t.equal(answer.status, 200);
    t.equal(blobGets(upstream), 33, "32 of the one, and the other's");
    for (const socket of sockets) socket.destroy();
    t.equal((await mirror.get(blob(second?.digest ?? ""), from(greedy))).status, 200);
    t.equal(blobGets(upstream), 34, "those who left in the queue have asked for nothing");
  },
);

t.test("who waits to fill a blob that somebody else fills meanwhile reads along", async (t) => {
  const { upstream, image, slow, mirror } = await startSlow(t, 1, { limits: { coldFills: 1 } });
  await open(mirror, blob(slow[0] ?? ""), greedy);
  await upstream.until(() => blobGets(upstream) === 1);
  const path = blob(image.layers[0]?.digest ?? "");
  const waiting = [1, 2, 3].map(() => mirror.get(path, from(greedy)));
  await eventuallyOpen(mirror, 4);
  await quiet(100);
  t.equal((await mirror.get(path, from(other))).status, 200);
  t.strictSame(
    (await Promise.all(waiting)).map(({ status }) => status),
    [200, 200, 200],
  );
  t.equal(blobGets(upstream), 2);
  const line = await mirror.line(({ client, path: asked }) => client === greedy && asked === path);
  t.match(line, { result: /^(joined|hit)$/ });
});

t.test("a place is free again when its fill has ended, whoever still reads", async (t) => {
  const upstream = await startUpstream(t);
  const bytes = randomBytesFor("large", 16 * 1024 * 1024);
  const large = upstream.addBlob("team/app", bytes);
  const small = upstream.addBlob("team/app", Buffer.from("small"));
  const mirror = await startMirror(t, upstream, { ...trusting, limits: { coldFills: 1 } });
  const socket = await open(mirror, blob(large), greedy);
  socket.pause();
  await mirror.line(({ msg }) => msg === "fill committed");
  t.equal((await mirror.get(blob(small), from(greedy))).status, 200);
  socket.destroy();
});

t.test("past the bound of those who wait: 429 with Retry-After, and no failure of anybody", async (t) => {
  const { upstream, slow, mirror } = await startSlow(t, 3, { limits: { coldFills: 1, waiting: 1 } });
  const [first, second, third] = slow.map((digest) => blob(digest));
  await open(mirror, first ?? "", greedy);
  await upstream.until(() => blobGets(upstream) === 1);
  const sockets = [second, third].map((path) => open(mirror, path ?? "", greedy));
  const { path, ...line } = await mirror.line(({ status }) => status === 429);
  t.match(line, { result: "denied", client: greedy, detail: "over_limit_too_many" });
  const waits = path === second ? third : second;
  (await sockets[waits === second ? 0 : 1])?.destroy();
  t.match(await mirror.line((line) => line.path === waits), { result: "aborted", client: greedy });
  t.equal(blobGets(upstream), 1);
});

t.test(
  "open answers: one client's wait for each other; others, who is exempt, and probes do not",
  async (t) => {
    const upstream = await startUpstream(t);
    const large = upstream.addBlob("team/app", randomBytesFor("large", 16 * 1024 * 1024));
    const limits = { openAnswers: 2, waiting: 1, exempt: ["192.0.2.0/24"] };
    const mirror = await startMirror(t, upstream, { ...trusting, limits });
    await mirror.get(blob(large), from(other));
    const ipv6 = ["2001:db8::1", "2001:db8::2"] as const;
    const stalled: Socket[] = [];
    for (const client of ipv6) {
      const socket = await open(mirror, blob(large), client);
      await once(socket, "readable");
      stalled.push(socket);
    }
    let answered = false;
    const waiting = mirror.get("/v2/", from("2001:db8::3")).then((answer) => {
      answered = true;
      return answer;
    });
    await eventuallyOpen(mirror, 3);
    const refused = await mirror.get("/v2/", from("2001:db8::4"));
    t.match(refused, { status: 429, headers: { "retry-after": "10" } }, "a /64 is one client");
    t.match(JSON.parse(refused.body.toString()), { errors: [{ code: "TOOMANYREQUESTS" }] });
    t.equal((await mirror.get("/readyz", from("2001:db8::4"))).status, 200);
    for (const client of ["2001:db8:0:1::1", other, "192.0.2.1"])
      t.equal((await mirror.get("/v2/", from(client))).status, 200, client);
    const exempt = await Promise.all([1, 2, 3].map(() => open(mirror, blob(large), "192.0.2.7")));
    t.equal((await mirror.get("/v2/", from("192.0.2.7"))).status, 200);
    t.notOk(answered);
    stalled[0]?.destroy();
    t.equal((await waiting).status, 200);
    for (const socket of [...stalled, ...exempt]) socket.destroy();
  },
);

t.test("slow writes of one client never make others' writes wait, nor 503", async (t) => {
  const { upstream, mirror } = await startBoth(t, {
    ...trusting,
    upstream: { push: true, maxConnections: 8 },
  });
  const location = await beginUpload(mirror, "team/app");
  const head = `PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n`;
  const sockets = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const socket = connect(Number(mirror.url.port), mirror.url.hostname);
      socket.on("error", () => {});
      await once(socket, "connect");
      socket.write(`${head}X-Forwarded-For: ${greedy}\r\n\r\na`);
      return socket;
    }),
  );
  const patches = () => upstream.requests.filter(({ method }) => method === "PATCH").length;
  await upstream.until(() => patches() === 6);
  const own = await mirror.ask("PATCH", await beginUpload(mirror, "team/app"), from(other), Buffer.alloc(9));
  t.equal(own.status, 202);
  t.equal((await mirror.ask("POST", "/v2/team/app/blobs/uploads/", from(greedy))).status, 202);
  t.equal(patches(), 7);
  for (const socket of sockets) socket.destroy();
});

/** Resolves when that many requests have come and are not over. */
async function eventuallyOpen(mirror: Mirror, count: number): Promise<void> {
  for (;;) {
    const text = (await (await fetch(new URL("/metrics", mirror.ops))).text()) as string;
    if (Number(/^entrepot_http_in_flight_requests (\d+)$/m.exec(text)?.[1]) >= count) return;
  }
}

t.test("a rule has another number of cold fills for those it is for", async (t) => {
  const rule = { users: [], groups: [], anonymous: false, networks: [greedy], coldFills: 2, shared: false };
  const { upstream, slow, mirror } = await startSlow(t, 10, { limits: { rules: [rule] } });
  const sockets = await Promise.all(
    slow.map((digest, at) => open(mirror, blob(digest), at < 5 ? greedy : other)),
  );
  await upstream.until(() => blobGets(upstream) === 7);
  await quiet();
  t.equal(blobGets(upstream), 7, "two of its five, and all of the others");
  for (const socket of sockets) socket.destroy();
});
