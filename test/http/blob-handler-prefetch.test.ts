// What is told of requests for blobs to what fetches the next layers ahead.
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import t, { type Test } from "tap";
import type { BlobCache } from "../../src/cache/blob-cache.ts";
import { type BlobHandlerOptions, handleBlob } from "../../src/http/blob-handler.ts";
import { BufferPool } from "../../src/http/buffer-pool.ts";
import { Exchange } from "../../src/http/exchange.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { gate } from "../fixtures/manual-time.ts";
import { MemoryUpstream, repo, sha256 } from "../fixtures/memory-upstream.ts";

const client = { address: "192.0.2.1", network: "192.0.2.1", key: "192.0.2.1", exempt: false };
const digest = sha256(Buffer.from("layer"));

/** Has one client ask for the blob, which `open` looks for; what was told meanwhile, once that is over. */
async function told(t: Test, open: (client: { leave(): Promise<void> }) => Promise<void>, ofNode = false) {
  const calls: string[] = [];
  const prefetch: NonNullable<BlobHandlerOptions["prefetch"]> = {
    asked: () => void calls.push("asked"),
    askedByNode: () => void calls.push("askedByNode"),
    missed: async () => void calls.push("missed"),
    joined: () => calls.push("joined") > 0,
  };
  const handled = gate();
  const server = createServer((request, response) => {
    const exchange = new Exchange(request, response, client, {
      now: () => 0,
      over: () => {},
      onEvent: () => {},
      originHeaders: { cacheStatus: true },
      ofWorker: false,
      basePathOf: () => "",
      originOf: () => undefined,
      certifiedOf: () => undefined,
    });
    if (ofNode) exchange.findings.ofNode = true;
    const left = new Promise<void>((resolve) => void exchange.onOver(resolve));
    const leave = async (): Promise<void> => {
      socket.destroy();
      await left;
    };
    const looked: Pick<BlobCache, "open"> = {
      open: async (_remote, _digest, _use, admission) => {
        await open({ leave });
        admission?.started(Promise.resolve());
        admission?.joined?.();
        return { kind: "absent" };
      },
    };
    const options = { blobs: looked as BlobCache, pool: new BufferPool(), coldFills: new Map(), prefetch };
    const remote = remoteRepository(new MemoryUpstream(), repo("team/app"), client);
    void handleBlob(exchange, options as never, remote, digest).then(() => {
      if (!exchange.closed) exchange.send(404, {}, "");
      handled.open();
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n");
  await handled.opened;
  socket.destroy();
  return calls;
}

t.test("the request, and the fill it follows", async (t) => {
  t.same(await told(t, async () => {}), ["asked", "missed", "joined"]);
});

t.test(
  "nothing of the fill once the client has left: nobody would tell that its request is over",
  async (t) => {
    t.same(await told(t, ({ leave }) => leave()), ["asked"]);
  },
);

t.test("another node's request is none of a client here", async (t) => {
  t.equal((await told(t, async () => {}, true))[0], "askedByNode");
});
