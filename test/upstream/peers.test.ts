// Other nodes as places to read from: real mirrors, and servers that only look like one.
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import t, { type Test } from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Repository } from "../../src/oci/name.ts";
import { NodeProof } from "../../src/ports/datacenter/node-proof.ts";
import type { Notice } from "../../src/ports/event.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { UpstreamError } from "../../src/ports/upstream.ts";
import { HttpPeers } from "../../src/upstream/peers.ts";
import { digestOf, randomBytesFor } from "../fixtures/images.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { freePort } from "../system/fixtures/free-port.ts";

const app = "team/app" as Repository;
const bytes = randomBytesFor("blob", 300_000);
const digest = digestOf(bytes);
const signal = new AbortController().signal;

function peersOf(t: Test, secret?: string, time = new ManualPause()) {
  const notices: Notice[] = [];
  const peers = new HttpPeers({
    node: "node-b",
    pseudonym: "entrepot-b",
    // A neighbour is waited for much more briefly than that.
    plain: (name, url) => ({ ...plainUpstream(name, url), firstByteTimeout: 3_600_000 }),
    notices: (notice) => notices.push(notice),
    clock: Date.now,
    pause: time.pause,
    beginTimeout: 1_000,
    ...(secret === undefined ? {} : { proof: new NodeProof(fixedSecret(new Secret(secret)), Date.now) }),
  });
  t.teardown(() => peers.close());
  const ask = (address: string, from = 0, by = signal, wanted: Digest = digest) =>
    peers.open(address, { upstream: "upstream", repository: app }, wanted, from, by);
  return { peers, notices, ask };
}

/** Something that listens; gives its origin and what it was asked. */
async function server(t: Test, listener: RequestListener) {
  const requests: IncomingMessage[] = [];
  const listening = createServer((request, response) => {
    requests.push(request);
    listener(request, response);
  }).listen(0, "127.0.0.1");
  await once(listening, "listening");
  t.teardown(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return { address: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`, requests };
}

t.test("what another node is fetching is read from any offset, and upstream is asked once", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addBlob(app, bytes);
  const gate = Promise.withResolvers<void>();
  upstream.fault(() => ({ stallAfter: 150_000, releaseOn: gate.promise }));
  const mirror = await startMirror(t, upstream);
  const { ask, notices } = peersOf(t);
  const first = mirror.get(`/v2/${app}/blobs/${digest}`);
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  const answer = await ask(mirror.url.origin, 100_000);
  if (answer.kind !== "found") throw new Error("it is not there");
  t.equal(answer.offset, 100_000);
  t.equal(answer.size, bytes.length);
  const body = buffer(answer.body);
  gate.resolve();
  t.ok((await body).equals(bytes.subarray(100_000)));
  t.ok((await first).body.equals(bytes));
  t.equal(upstream.count({ kind: "blob" }), 1);
  await mirror.line(({ msg }) => msg === "fill committed");
  const stored = await ask(mirror.url.origin);
  t.ok(stored.kind === "found" && (await buffer(stored.body)).equals(bytes), "and when it is there");
  t.same(notices, [], "it says nothing about the registry");
});

t.test("a node never starts a download for another", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addBlob(app, bytes);
  const mirror = await startMirror(t, upstream);
  const { ask } = peersOf(t);
  t.match(await ask(mirror.url.origin), { kind: "absent" });
  t.equal(upstream.count({ kind: "blob" }), 0);
});

t.test("it reads only what the repository may", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addBlob("team/other", bytes);
  const mirror = await startMirror(t, upstream);
  t.equal((await mirror.get(`/v2/team/other/blobs/${digest}`)).status, 200);
  const { ask } = peersOf(t);
  t.match(await ask(mirror.url.origin), { kind: "absent" });
});

t.test("a node names itself, and asks below the upstream's name", async (t) => {
  const { address, requests } = await server(t, (_, response) => {
    response.writeHead(206, { "content-range": "bytes 5-9/10", "content-length": 5 }).end("56789");
  });
  const { ask } = peersOf(t);
  const answer = await ask(address, 5);
  t.ok(answer.kind === "found" && (await buffer(answer.body)).toString() === "56789");
  t.equal(requests[0]?.url, `/upstream/v2/${app}/blobs/${digest}`);
  t.match(requests[0]?.headers, { "entrepot-node": "node-b", range: "bytes=5-", via: /entrepot-b/ });
  t.notOk("authorization" in (requests[0]?.headers ?? {}), "without credentials");
});

t.test("who does not prove to be a node gets no more than a client, and starts no download", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addBlob(app, bytes);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 150_000, releaseOn: gate.promise } : undefined,
  );
  const secret = "s".repeat(32);
  const port = await freePort();
  const address = `http://127.0.0.1:${port}`;
  const mirror = await startMirror(t, upstream, {
    port,
    node: { name: "node-a", address, secret: fixedSecret(new Secret(secret)) },
    // A client waits for a part until all of the blob is verified; a node verifies it itself.
    cache: { rangesBeforeVerified: false },
  });
  const others = [peersOf(t), peersOf(t, "x".repeat(32))];
  for (const { ask } of others) t.match(await ask(mirror.url.origin), { kind: "absent" });
  t.equal(upstream.count({ kind: "blob" }), 0);

  const first = mirror.get(`/v2/${app}/blobs/${digest}`);
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  let answered = 0;
  const waiting = others.map(async ({ ask }) => {
    const answer = await ask(mirror.url.origin, 100_000);
    answered++;
    if (answer.kind === "found") await buffer(answer.body);
  });
  const answer = await peersOf(t, secret).ask(mirror.url.origin, 100_000);
  if (answer.kind !== "found") throw new Error("a node gets it at once");
  t.equal(answered, 0, "the others wait as clients do");
  gate.resolve();
  t.ok((await buffer(answer.body)).equals(bytes.subarray(100_000)));
  await Promise.all([first, ...waiting]);
  t.equal(answered, 2);
  t.equal(upstream.count({ kind: "blob" }), 1);
});

t.test("the secret itself is sent to nobody", async (t) => {
  const { address, requests } = await server(t, (_, response) => response.writeHead(404).end());
  const secret = "s".repeat(32);
  const { ask } = peersOf(t, secret);
  await ask(address);
  t.match(requests[0]?.headers["entrepot-node-proof"], /^\d+\.[\w-]{43}$/);
  t.notOk(requests[0]?.rawHeaders.join().includes(secret));
  const proof = new NodeProof(fixedSecret(new Secret(secret)), Date.now, new URL(address).host);
  t.equal(await proof.isNode(requests[0] as IncomingMessage), true);
  const elsewhere = { ...requests[0]?.headers, host: "10.0.0.8:5000" };
  t.equal(await proof.isNode({ method: "GET", url: requests[0]?.url, headers: elsewhere }), false);
});

t.test("what is no address is refused without asking anybody", async (t) => {
  const { peers, ask } = peersOf(t);
  const none = [
    "",
    "10.0.0.7:5000",
    "ftp://10.0.0.7",
    "http://a@10.0.0.7",
    "http://10.0.0.7/x",
    "http://10.0.0.7?x",
  ];
  for (const address of none) await t.rejects(ask(address), { code: "unreachable" }, JSON.stringify(address));
  await peers.close();
});

t.test("a node that is gone, errors and a body that breaks off", async (t) => {
  const { ask, notices } = peersOf(t);
  await t.rejects(ask("http://127.0.0.1:1"), { code: "unreachable" });
  t.match(notices[0], { kind: "store_error", op: "peer", message: /127\.0\.0\.1:1/ });
  const broken = await server(t, (_, response) => response.writeHead(500).end());
  await t.rejects(ask(broken.address), { code: "server_error" });
  const cut = await server(t, (request, response) => {
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, 1_000), () => request.socket.destroy());
  });
  const answer = await ask(cut.address);
  if (answer.kind !== "found") throw new Error("it does not begin");
  await t.rejects(buffer(answer.body), UpstreamError);
});

t.test("a node that hangs is given up in time, or when its client has gone", async (t) => {
  const { address } = await server(t, () => {});
  const { ask } = peersOf(t);
  const leaving = new AbortController();
  const left = ask(address, 0, leaving.signal);
  setImmediate(() => leaving.abort());
  await t.rejects(left);
  await t.rejects(ask(address), { code: "timeout" });
});

t.test("a node that does not say whether it has something is waited for three seconds", async (t) => {
  const { address } = await server(t, () => {});
  const time = new ManualPause();
  const { peers } = peersOf(t, undefined, time);
  const asked = t.rejects(peers.has(address, { upstream: "upstream", repository: app }, digest, "blob"), {
    name: "TimeoutError",
  });
  await eventually("it waits", () => time.asked.includes(3_000));
  time.elapse();
  await asked;
});

t.test("closing ends what is under way", async (t) => {
  const { address } = await server(t, (_, response) => {
    response.writeHead(200, { "content-length": bytes.length }).write(bytes.subarray(0, 1_000));
  });
  const { peers, ask } = peersOf(t);
  const answer = await ask(address);
  if (answer.kind !== "found") throw new Error("it does not begin");
  const body = t.rejects(buffer(answer.body));
  await peers.close();
  await body;
});
