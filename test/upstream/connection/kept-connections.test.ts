// Kept connections that die all at once, as when a registry's address moves to another machine, over real sockets.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import t, { type Test } from "tap";
import { Client } from "undici";
import type { Digest } from "../../../src/oci/digest.ts";
import { KeptConnections } from "../../../src/upstream/connection/kept-connections.ts";
import {
  byDigest,
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { makeImage } from "../../fixtures/images.ts";

const image = makeImage({ layers: [10_000], seed: "kept" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;
const many = 20;

/** How the connections of before end when a request comes on one of them. */
const ends = {
  RST: (socket: Socket) => void socket.resetAndDestroy(),
  FIN: (socket: Socket) => void socket.end(),
  "half an answer and RST": (socket: Socket) =>
    void socket.write("HTTP/1.1 2", () => socket.resetAndDestroy()),
} as const;

async function startRegistry(t: Test, end: (socket: Socket) => void) {
  const sockets = new Map<Socket, number>();
  const state = { moved: 0, connections: 0, lost: 0, requests: 0, together: 0, broken: false };
  let arrived: (() => void)[] = [];
  const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
    if (state.broken || (sockets.get(request.socket) ?? 0) < state.moved) {
      state.lost++;
      return end(request.socket);
    }
    state.requests++;
    // As many as are to come together have a connection each.
    const { promise, resolve } = Promise.withResolvers<void>();
    arrived.push(resolve);
    if (arrived.length >= state.together) {
      for (const go of arrived) go();
      arrived = [];
    }
    await promise;
    const body = request.url?.includes("/blobs/") ? layer.bytes : image.manifest;
    const type = body === layer.bytes ? "application/octet-stream" : image.mediaType;
    response.writeHead(200, { "content-type": type, "content-length": body.length });
    response.end(request.method === "HEAD" ? undefined : body);
  });
  server.on("connection", (socket) => {
    state.connections++;
    sockets.set(socket, state.moved);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return { url, state, open: () => [...sockets.values()] };
}

async function setUp(t: Test, end: (socket: Socket) => void) {
  const registry = await startRegistry(t, end);
  const connected = connectUpstream(t, registry.url, { maxConnections: 32 });
  const { upstream } = connected;
  registry.state.together = many;
  await Promise.all(Array.from({ length: many }, () => upstream.headManifest(repository, tagged("1"))));
  registry.state.together = 0;
  await idle(upstream);
  t.equal(registry.state.connections, many, "all of them are kept");
  registry.state.moved++;
  registry.state.requests = 0;
  return { registry, ...connected };
}

for (const [name, end] of Object.entries(ends)) {
  t.test(
    `${name}: the request goes again on a new connection, and the other idle ones are dropped`,
    async (t) => {
      const { registry, upstream, notices } = await setUp(t, end);
      t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
      t.same([registry.state.lost, registry.state.requests], [1, 1]);
      t.equal(registry.state.connections, many + 1);
      while (registry.open().some((made) => made < 1)) await new Promise(setImmediate);
      t.match(await upstream.getManifest(repository, byDigest(image.digest)), { kind: "found" });
      t.match(await upstream.headBlob(repository, layer.digest), { kind: "found", size: 10_000 });
      const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
      t.ok((await drain(body)).bytes.equals(layer.bytes));
      t.same([registry.state.lost, registry.state.requests], [1, 4], "nothing else is lost");
      t.same(
        notices.filter(({ kind }) => kind === "upstream_error" || kind === "circuit"),
        [],
      );
    },
  );

  t.test(`${name}: as many requests at once as connections, of every kind: all are answered`, async (t) => {
    const { registry, upstream, notices } = await setUp(t, end);
    const asks = [
      () => upstream.headManifest(repository, tagged("1")),
      () => upstream.getManifest(repository, byDigest(image.digest)),
      () => upstream.headBlob(repository, layer.digest),
      async () => {
        const answer = found(await upstream.openBlob(repository, layer.digest, 0, never));
        t.ok((await drain(answer.body)).bytes.equals(layer.bytes));
        return answer;
      },
    ];
    const answers = await Promise.all(Array.from({ length: many }, (_, at) => asks[at % asks.length]?.()));
    t.ok(answers.every((answer) => answer?.kind === "found"));
    t.equal(registry.state.requests, many, "each is answered once");
    t.same(
      notices.filter(({ kind }) => kind === "upstream_error" || kind === "circuit"),
      [],
    );
    t.equal(upstream.circuit.state, "closed");
  });
}

t.test("an upstream that resets new connections too has failed, after one more try", async (t) => {
  const { registry, upstream } = await setUp(t, ends.RST);
  registry.state.broken = true;
  t.match(await upstreamError(upstream.headManifest(repository, tagged("1"))), { code: "unreachable" });
  t.equal(registry.state.lost, 2);
  t.match(await upstreamError(upstream.headManifest(repository, tagged("1"))), { code: "unreachable" });
  t.equal(registry.state.lost, 3, "a connection that never answered is not tried again");
});

t.test("connections are replaced once, and what runs on the old ones is ended with the rest", async (t) => {
  const { url, state } = await startRegistry(t, ends.RST);
  const made: Client[] = [];
  const kept = new KeptConnections(() => {
    const client = new Client(url.origin);
    made.push(client);
    return client;
  });
  const first = kept.current;
  state.together = 2;
  const running = first.request({ path: "/", method: "GET" });
  kept.replace(first);
  const second = kept.current;
  t.not(second, first);
  kept.replace(first);
  t.equal(kept.current, second, "it is not the dead one any more");
  const ended = t.rejects(running);
  await kept.destroy();
  await ended;
  t.same(
    made.map(({ destroyed }) => destroyed),
    [true, true],
  );
});
