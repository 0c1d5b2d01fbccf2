// A mirror of another datacenter over real sockets: what it is asked, and what its answers mean.
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import t, { type Test } from "tap";
import { plainUpstream, type SiblingConfig } from "../../src/config/config.ts";
import type { Notice } from "../../src/ports/event.ts";
import { HttpSibling } from "../../src/upstream/siblings.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { basicAuth } from "../fixtures/connected-upstream.ts";
import { digestOf, randomBytesFor } from "../fixtures/images.ts";
import { ManualPause } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { siblingAt } from "../fixtures/siblings.ts";

const app = repo("team/app");
const scope = { upstream: "upstream", repository: app };
const bytes = randomBytesFor("blob", 300_000);
const digest = digestOf(bytes);
const { signal } = new AbortController();

function siblingOf(t: Test, url: URL | string, changes: Partial<SiblingConfig> = {}) {
  const notices: Notice[] = [];
  const sibling = new HttpSibling(siblingAt("dc2", new URL(url), changes), {
    pseudonym: "entrepot-a",
    plain: plainUpstream,
    notices: (notice) => notices.push(notice),
    clock: Date.now,
    pause: new ManualPause().pause,
  });
  t.teardown(() => sibling.close());
  return { sibling, notices };
}

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
  return { url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`, requests };
}

t.test(
  "it is asked as by a client, below the upstream's name there, for nothing but what it holds",
  async (t) => {
    const { url, requests } = await server(t, (_, response) => {
      response.writeHead(206, { "content-range": "bytes 5-9/10", "content-length": 5 }).end("56789");
    });
    const { sibling, notices } = siblingOf(t, `${url}/cache/`, { upstreams: { upstream: "far" } });
    t.ok(sibling.knows("upstream"));
    t.notOk(sibling.knows("other"));
    const answer = await sibling.open(scope, digest, 5, signal);
    t.ok(answer.kind === "found" && (await buffer(answer.body)).toString() === "56789");
    t.equal(requests[0]?.url, `/cache/far/v2/${app}/blobs/${digest}`);
    t.match(requests[0]?.headers, {
      "cache-control": "only-if-cached",
      range: "bytes=5-",
      via: /entrepot-a/,
    });
    t.notOk("entrepot-node" in (requests[0]?.headers ?? {}), "as no node of its datacenter");
    t.same(
      notices,
      [{ kind: "sibling_bytes", sibling: "dc2", bytes: 5 }],
      "and nothing is said of an upstream",
    );
  },
);

t.test("504 says that it does not hold it, however often: it is well", async (t) => {
  const { url, requests } = await server(t, (_, response) => {
    response.writeHead(504, { "content-type": "application/json" }).end('{"errors":[]}');
  });
  const { sibling } = siblingOf(t, url);
  for (let i = 0; i < 5; i++) {
    const other = digestOf(Buffer.from([i]));
    t.match(await sibling.open(scope, other, 0, signal), { kind: "absent" });
    t.match(await sibling.manifest(scope, other), { kind: "absent" });
  }
  t.ok(sibling.available);
  t.equal(requests.length, 10, "one question each");
});

t.test("one that fails three times is away, for all upstreams, until a probe finds it", async (t) => {
  const { url } = await server(t, (_, response) => {
    response.writeHead(500).end();
  });
  const { sibling } = siblingOf(t, url);
  for (let i = 0; i < 3; i++)
    await t.rejects(sibling.open(scope, digestOf(Buffer.from([i])), 0, signal), { code: "server_error" });
  t.notOk(sibling.available);
  await t.rejects(sibling.open(scope, digest, 0, signal), { code: "circuit_open" });
});

t.test("as many transfers at once as it has connections, and no more", async (t) => {
  const { url, requests } = await server(t, (_, response) => {
    response.writeHead(200, { "content-length": 10 }).write("12345");
  });
  const { sibling } = siblingOf(t, url, { maxConnections: 3 });
  const over = new AbortController();
  for (let held = 0; held < 3; held++) {
    t.ok(sibling.hasRoom("upstream"), `${held} are under way`);
    t.match(await sibling.open(scope, digestOf(Buffer.from([held])), 0, over.signal), { kind: "found" });
  }
  t.notOk(sibling.hasRoom("upstream"));
  t.ok(sibling.hasRoom("another"), "of another upstream there are none");
  t.equal(requests.length, 3);
  over.abort();
});

t.test("a real mirror gives what it holds, whole and in parts, and fetches nothing", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addBlob(app, bytes);
  const mirror = await startMirror(t, upstream);
  const { sibling } = siblingOf(t, mirror.url);
  t.match(await sibling.open(scope, digest, 0, signal), { kind: "absent" });
  t.equal(upstream.requests.length, 0);
  await mirror.get(`/v2/${app}/blobs/${digest}`);
  await mirror.line(({ msg }) => msg === "fill committed");
  const asked = upstream.requests.length;
  const whole = await sibling.open(scope, digest, 0, signal);
  t.ok(whole.kind === "found" && (await buffer(whole.body)).equals(bytes));
  const part = await sibling.open(scope, digest, 100_000, signal, 100_010);
  t.match(part, { kind: "found", offset: 100_000, end: 100_010, size: bytes.length });
  t.ok(part.kind === "found" && (await buffer(part.body)).equals(bytes.subarray(100_000, 100_010)));
  t.equal(upstream.requests.length, asked);
});

t.test("over TLS of its own authority, with an account", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "ca");
  const { key, cert } = authority.issue("sibling", "IP:127.0.0.1");
  const there = await startUpstream(t, {
    path: "/upstream",
    username: "mirror-a",
    password: "secret",
    tls: { key, cert },
  });
  there.addBlob(app, bytes);
  const { sibling } = siblingOf(t, new URL("/", there.url), {
    auth: basicAuth("mirror-a", "secret"),
    tls: { ca: authority.cert },
  });
  const answer = await sibling.open(scope, digest, 0, signal);
  t.ok(answer.kind === "found" && (await buffer(answer.body)).equals(bytes));
});
