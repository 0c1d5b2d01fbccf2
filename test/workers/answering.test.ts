// What a client gets from a worker, what the primary is asked for it, and which of the two makes the event.
import { connect } from "node:net";
import t from "tap";
import { fail, failures } from "../../src/http/error.ts";
import type { Exchange } from "../../src/http/exchange.ts";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseRepository, type Repository } from "../../src/oci/name.ts";
import { peerHeader } from "../../src/ports/shared.ts";
import { digestOf } from "../fixtures/images.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { startPair } from "../fixtures/worker-pair.ts";

const scope = { upstream: "far", repository: parseRepository("team/app") as Repository };
const manifest = Buffer.from('{"schemaVersion":2}');
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const blob = Buffer.alloc(300_000, "layer");
const blobDigest = parseDigest(digestOf(blob)) as Digest;
const path = "/v2/team/app/manifests/1";
const blobPath = `/v2/team/app/blobs/${blobDigest}`;

function grantManifest(exchange: Exchange, more: { freshFor?: number; heads?: boolean } = {}): void {
  Object.assign(exchange.findings, { route: "manifest_tag", source: "disk", reference: "1" });
  const digest = parseDigest(digestOf(manifest)) as Digest;
  const size = manifest.length;
  exchange.grant(
    {
      kind: "manifest",
      ...scope,
      digest,
      mediaType,
      size,
      age: 5_000,
      freshFor: 60_000,
      heads: true,
      ...more,
    },
    manifest,
  );
}

function grantBlob(exchange: Exchange): void {
  Object.assign(exchange.findings, { route: "blob", source: "disk", reference: blobDigest });
  exchange.grant({ kind: "blob", ...scope, digest: blobDigest, size: blob.length, age: 0, heads: true });
}

t.test("a manifest that was granted is answered without the primary", async (t) => {
  const pair = await startPair(t, { serve: grantManifest });
  const first = await pair.ask("GET", path);
  t.match(first, { status: 200, body: manifest, headers: { age: "5", "content-type": mediaType } });
  t.match(first.headers, { "cache-status": "entrepot; hit; ttl=60; detail=disk" });
  pair.elapse(3_000);
  const second = await pair.ask("GET", path, { "x-request-id": "mine" });
  t.match(second.headers, {
    age: "8",
    "x-request-id": "mine",
    "cache-status": "entrepot; hit; ttl=57; detail=memory",
    "docker-content-digest": digestOf(manifest),
  });
  t.match(await pair.ask("HEAD", path), {
    status: 200,
    headers: { "content-length": String(manifest.length) },
  });
  t.match(await pair.ask("GET", path, { "if-none-match": `"${digestOf(manifest)}"` }), { status: 304 });
  t.equal(pair.asked.length, 1);
  await eventually("every request has its event", () => pair.events.worker.length === 4);
  t.match(pair.events.worker[1], {
    result: "hit",
    source: "memory",
    ...scope,
    reference: "1",
    route: "manifest_tag",
    client: "127.0.0.1",
    bytesSent: manifest.length,
    content: { digest: digestOf(manifest), mediaType, size: manifest.length },
  });
  t.same(pair.events.primary, []);
});

t.test("whoever says to be a node is the primary's to answer and to count", async (t) => {
  const pair = await startPair(t, { serve: grantOrSend });
  function grantOrSend(exchange: Exchange): void {
    if (exchange.takesGrant) grantManifest(exchange);
    else exchange.send(200, {}, manifest);
  }
  await pair.ask("GET", path);
  const node = await pair.ask("GET", path, { [peerHeader]: "node-b" });
  t.match(node, { status: 200, body: manifest });
  t.equal(pair.asked.length, 2);
  await eventually("the primary has its event", () => pair.events.primary.length === 1);
  t.equal(pair.events.worker.length, 1);
});

t.test("a client that does not take a granted tag's type is the primary's to answer", async (t) => {
  const index = "application/vnd.oci.image.index.v1+json";
  const pair = await startPair(t, {
    serve: (exchange) => {
      if (exchange.header("accept") === index) fail(exchange, failures.manifestUnknown);
      else grantManifest(exchange);
    },
  });
  t.equal((await pair.ask("GET", path)).status, 200);
  t.equal((await pair.ask("GET", path, { accept: index })).status, 404);
  t.equal((await pair.ask("HEAD", path, { accept: index })).status, 404);
  t.equal((await pair.ask("GET", path, { accept: `${index}, ${mediaType}` })).status, 200);
  t.equal(pair.asked.length, 3);
});

t.test("the primary is told the path before this mirror as the worker judges it", async (t) => {
  const seen: string[] = [];
  const pair = await startPair(t, {
    serve: (exchange) => {
      seen.push(exchange.basePath);
      fail(exchange, failures.manifestUnknown);
    },
  });
  await pair.ask("GET", path);
  // Nobody is trusted, and only a worker may send its own header.
  await pair.ask("GET", path, { "x-forwarded-prefix": "/registry", "entrepot-base-path": "/evil" });
  pair.listener.prepare({ trustedProxies: ["127.0.0.1"], basePath: "/base" })();
  await pair.ask("GET", path);
  await pair.ask("GET", path, { "x-forwarded-prefix": "/registry", "entrepot-base-path": "/evil" });
  t.strictSame(seen, ["", "", "/base", "/registry"]);
});

t.test("a grant ends with its time, and after ten seconds at the latest", async (t) => {
  const pair = await startPair(t, {
    serve: (exchange) =>
      grantManifest(exchange, { freshFor: exchange.request.url === path ? 4_000 : 60_000 }),
  });
  for (const [wait, count] of [
    [0, 1],
    [3_999, 1],
    [1, 2],
  ] as const) {
    pair.elapse(wait);
    await pair.ask("GET", path);
    t.equal(pair.asked.length, count, `after ${wait} ms more`);
  }
  await pair.ask("GET", `${path}2`);
  pair.elapse(9_999);
  await pair.ask("GET", `${path}2`);
  t.equal(pair.asked.length, 3);
  pair.elapse(1);
  await pair.ask("GET", `${path}2`);
  t.equal(pair.asked.length, 4);
});

t.test("what is forgotten is asked for again, also when the news overtakes the grant", async (t) => {
  let overtaken = false;
  const pair = await startPair(t, {
    serve: (exchange) => {
      if (overtaken) pair.grants.forget(scope);
      grantManifest(exchange);
    },
  });
  await pair.ask("GET", path);
  pair.grants.forget({ ...scope, repository: parseRepository("team/other") as Repository });
  await pair.ask("GET", path);
  t.equal(pair.asked.length, 1, "another repository");
  overtaken = true;
  pair.grants.forget(scope);
  await pair.ask("GET", path);
  t.equal(pair.asked.length, 2);
  overtaken = false;
  await pair.ask("GET", path);
  t.equal(pair.asked.length, 3, "the grant was of before the news");
  await pair.ask("GET", path);
  t.equal(pair.asked.length, 3);
});

t.test("HEAD is asked every time where clients push", async (t) => {
  const pair = await startPair(t, { serve: (exchange) => grantManifest(exchange, { heads: false }) });
  await pair.ask("GET", path);
  await pair.ask("HEAD", path);
  await pair.ask("HEAD", path);
  await pair.ask("GET", path);
  t.equal(pair.asked.length, 3);
  t.equal(pair.asked[2]?.isHead, true);
});

t.test("a blob is read from the store; when it has gone the primary is asked once more", async (t) => {
  const stored = new Map([[blobDigest, blob]]);
  const pair = await startPair(t, {
    stored,
    serve: (exchange) =>
      exchange.takesGrant ? grantBlob(exchange) : fail(exchange, failures.blobUnknown, "negative"),
  });
  for (let round = 0; round < 2; round++)
    t.match(await pair.ask("GET", blobPath), { status: 200, body: blob, complete: true });
  t.match(await pair.ask("HEAD", blobPath), { headers: { "content-length": String(blob.length) } });
  t.equal(pair.asked.length, 1);
  for (let round = 0; round < 2; round++)
    t.match(await pair.ask("GET", blobPath, { range: "bytes=100-299" }), {
      status: 206,
      body: blob.subarray(100, 300),
    });
  t.equal(pair.asked.length, 2, "a part is granted by itself");
  stored.clear();
  t.match(await pair.ask("GET", blobPath), { status: 404 });
  t.equal(pair.asked.length, 4, "for a new grant, which is no use either, and then without");
  await eventually("the refusal is the primary's", () => pair.events.primary.length === 1);
  t.equal(pair.events.worker.length, 5);
});

t.test("stored bytes that prove wrong after they were granted are not begun to be sent", async (t) => {
  const stored = new Map([[blobDigest, blob]]);
  const pair = await startPair(t, {
    stored,
    serve: (exchange) => {
      if (!exchange.takesGrant) return fail(exchange, failures.blobUnknown, "negative");
      pair.readers.cut(blobDigest);
      return grantBlob(exchange);
    },
  });
  t.match(await pair.ask("GET", blobPath), { status: 404 });
  t.equal(pair.asked.length, 2);
});

t.test("headers that cannot be passed on as they are", async (t) => {
  const pair = await startPair(t, {
    serve: async (exchange) => {
      const { te, trailer, secret, constructor: own } = exchange.request.headers as Record<string, unknown>;
      exchange.request.resume();
      exchange.send(200, {}, JSON.stringify({ te, trailer, secret, own, old: !exchange.acceptsChunks }));
    },
  });
  const raw = async (text: string): Promise<string> => {
    const socket = connect(pair.port, "127.0.0.1");
    let heard = "";
    socket.setEncoding("latin1").on("data", (part: string) => {
      heard += part;
    });
    socket.write(text);
    await new Promise((resolve) => socket.on("close", resolve));
    return heard;
  };
  const put = await raw(
    "PUT /v2/a HTTP/1.1\r\nHost: a\r\nTrailer: x\r\nTE: trailers\r\nSecret: 1\r\nConstructor: me\r\nConnection: close, secret\r\nContent-Length: 3\r\n\r\nabc",
  );
  t.match(put, /^HTTP\/1\.1 200 /);
  t.match(put, '{"own":"me","old":false}');
  t.match(await raw("GET /v2/ HTTP/1.0\r\n\r\n"), /^HTTP\/1\.[01] 200 [\s\S]*"old":true/);
});

t.test("a refusal is passed on, and its event is the primary's alone", async (t) => {
  const pair = await startPair(t, {
    serve: (exchange) => fail(exchange, failures.manifestUnknown, "negative"),
  });
  const { status, headers, body } = await pair.ask("GET", path, { "x-request-id": "refused" });
  t.match({ status, headers }, { status: 404, headers: { "x-request-id": "refused" } });
  t.match(JSON.parse(String(body)), { errors: [{ code: "MANIFEST_UNKNOWN" }] });
  await eventually("it is told", () => pair.events.primary.length === 1);
  t.match(pair.events.primary[0], { status: 404, id: "refused", client: "127.0.0.1", result: "negative" });
  t.same(pair.events.worker, []);
  await pair.ask("GET", path);
  t.equal(pair.asked.length, 2, "it is not remembered");
});

t.test("what a client says of itself is not taken for what a worker says", async (t) => {
  const pair = await startPair(t, { serve: (exchange) => fail(exchange, failures.notAllowed, "denied") });
  await pair.ask("PUT", path, { "entrepot-client": "10.0.0.9", "entrepot-worker": "1" });
  t.match(pair.asked[0], { client: { address: "127.0.0.1" }, takesGrant: false });
});

t.test("a body is passed on as it comes, after 100 where the client waits for it", async (t) => {
  const bodies: Buffer[] = [];
  const pair = await startPair(t, {
    serve: async (exchange) => {
      exchange.proceed();
      const chunks: Buffer[] = [];
      for await (const chunk of exchange.request as AsyncIterable<Buffer>) chunks.push(chunk);
      bodies.push(Buffer.concat(chunks));
      exchange.send(201, { location: "/v2/somewhere" });
    },
  });
  const body = Buffer.alloc(1_000_000, "upload");
  const plain = await pair.ask("PUT", "/v2/team/app/blobs/uploads/1", {}, body);
  t.match(plain, { status: 201, headers: { location: "/v2/somewhere" } });
  const waiting = connect(pair.port, "127.0.0.1");
  waiting.write(
    "PUT /v2/team/app/blobs/uploads/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
  );
  let heard = "";
  waiting.setEncoding("latin1").on("data", (text: string) => {
    heard += text;
    if (heard.endsWith("100 Continue\r\n\r\n")) waiting.write("hello");
  });
  await new Promise((resolve) => waiting.on("close", resolve));
  t.match(heard, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 201 Created\r\n/);
  t.ok(bodies[0]?.equals(body));
  t.equal(String(bodies[1]), "hello");
  t.match(await pair.ask("DELETE", path), { status: 201 }, "no body at all");
});

t.test("an answer of the primary that breaks off is cut short for the client too", async (t) => {
  const pair = await startPair(t, {
    serve: async (exchange) => {
      exchange.begin(200, {}, 200_000);
      await exchange.write(Buffer.alloc(100_000));
      exchange.cut("upstream");
    },
  });
  const { status, complete, body } = await pair.ask("GET", blobPath);
  t.match({ status, complete }, { status: 200, complete: false });
  t.ok(body.length <= 100_000);
  await eventually("it is told once", () => pair.events.primary.length === 1);
  t.match(pair.events.primary[0], { abortedBy: "upstream", result: "error" });
  t.same(pair.events.worker, []);
});

t.test("a small answer that breaks off is no answer: the one event tells what the client got", async (t) => {
  const pair = await startPair(t, {
    serve: async (exchange) => {
      exchange.begin(206, {}, 2_000);
      await exchange.write(Buffer.alloc(1_000));
      exchange.cut("upstream");
    },
  });
  await t.rejects(pair.ask("GET", blobPath), { code: "ECONNRESET" });
  await eventually("it is told once", () => pair.events.primary.length === 1);
  t.match(pair.events.primary[0], { abortedBy: "upstream", result: "error" });
  t.same(pair.events.worker, []);
});

t.test("without its primary a worker answers 503, and makes the event", async (t) => {
  const pair = await startPair(t, { serve: grantManifest });
  await pair.ask("GET", path);
  pair.end();
  t.match(await pair.ask("GET", path), { status: 200 }, "what it was granted it still may give");
  t.match(await pair.ask("GET", `${path}2`), { status: 503, headers: { "retry-after": "1" } });
  t.match(await pair.ask("PUT", path), { status: 503 });
  await eventually("every request has its event", () => pair.events.worker.length === 4);
  t.match(pair.events.worker[2], { status: 503, detail: "the primary does not answer" });
});

t.test(
  "a client that leaves while the primary is asked: one event, whichever it is answered with",
  async (t) => {
    for (const granted of [true, false]) {
      const waiting: Exchange[] = [];
      const pair = await startPair(t, { serve: (exchange) => void waiting.push(exchange) });
      const socket = connect(pair.port, "127.0.0.1");
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await eventually("the primary is asked", () => waiting.length === 1);
      socket.destroy();
      t.same(pair.events, { worker: [], primary: [] });
      const exchange = waiting[0] as Exchange;
      if (granted) grantManifest(exchange);
      else fail(exchange, failures.manifestUnknown, "negative");
      const made = () => pair.events.worker.length + pair.events.primary.length;
      await eventually("there is an event", () => made() === 1);
      t.equal(pair.events.worker.length, granted ? 1 : 0);
    }
  },
);

t.test(
  "a client that leaves while its granted blob is opened: the primary is not asked for it again",
  async (t) => {
    let leave = (): void => {};
    const pair = await startPair(t, {
      serve: (exchange) => {
        if (exchange.header("range") !== undefined) return fail(exchange, failures.blobUnknown);
        Object.assign(exchange.findings, { route: "blob", source: "upstream:far", reference: blobDigest });
        const content = {
          kind: "blob",
          ...scope,
          digest: blobDigest,
          size: blob.length,
          age: 0,
          heads: true,
        } as const;
        exchange.beginGrant({ ...content, fill: { file: "/spool", whole: false, result: "miss" } });
      },
      openSpool: async () => {
        leave();
        await eventually("the client has left", () => pair.events.worker.length === 1);
        return undefined;
      },
    });
    const socket = connect(pair.port, "127.0.0.1");
    leave = () => void socket.destroy();
    socket.write(`GET ${blobPath} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await eventually("it has its event", () => pair.events.worker.length === 1);
    await pair.ask("GET", blobPath, { range: "bytes=0-0" });
    t.equal(pair.asked.length, 2);
    t.equal(pair.events.worker.length + pair.events.primary.length, 2);
  },
);

t.test("malformed requests and probes are no question to the primary", async (t) => {
  const pair = await startPair(t, { serve: grantManifest });
  t.match(await pair.ask("GET", "/livez"), { status: 200 });
  t.match(await pair.ask("GET", "/readyz"), { status: 200 });
  const socket = connect(pair.port, "127.0.0.1");
  let heard = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    heard += text;
  });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`);
  await new Promise((resolve) => socket.on("close", resolve));
  t.match(heard, /^HTTP\/1\.1 400 /);
  t.equal(pair.asked.length, 0);
});

t.test("a request that came through other mirrors is the primary's to judge", async (t) => {
  const pair = await startPair(t, {
    serve: (exchange) => exchange.send(200, {}, String(exchange.takesGrant)),
  });
  t.match(await pair.ask("GET", path, { via: "1.1 other" }), { body: Buffer.from("false") });
});
