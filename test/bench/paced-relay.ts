// The long link of the mixed load: a TCP relay whose connections share one bandwidth towards the mirror, however many
// of them there are. No delay, no loss: the long link proper is a scenario of its own.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { makeLink } from "../../src/demo/link.ts";
import type { Cleanup } from "../system/fixtures/work-directory.ts";

/**
 * Listens on a free port of loopback and relays to `target`; closed at the end. With a round trip, in milliseconds, each piece
 * from `target` is late by that: right for small answers, of which each is one piece.
 */
export async function startPacedRelay(
  t: Cleanup,
  target: URL,
  bytesPerSecond: number,
  roundTripMs = 0,
): Promise<URL> {
  const link = makeLink({ roundTripMs, bytesPerSecond });
  const closing = new AbortController();
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    return socket;
  };
  const server = createServer((near) => {
    const far = keep(connect({ host: target.hostname, port: Number(target.port) }));
    keep(near);
    const down = pipeline(
      far,
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          await link.roundTrip(closing.signal);
          yield* link.carry(chunk, closing.signal);
        }
      },
      near,
    );
    // One end that goes takes the other along, which is what the client behind it would see.
    for (const way of [down, pipeline(near, far)])
      way.catch(() => {
        near.destroy();
        far.destroy();
      });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    closing.abort();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}
