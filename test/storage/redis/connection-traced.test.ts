import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import t from "tap";
import { realPause } from "../../../src/ports/clock.ts";
import { within } from "../../../src/ports/tracing/span.ts";
import { RedisConnection } from "../../../src/storage/redis/connection.ts";
import { recordedSpan } from "../../fixtures/recorded-spans.ts";

const info = "redis_version:7.0.0\r\n";

/** Answers as much of Redis's protocol as a client needs to begin; `get bad` is an error. */
function answer(socket: Socket): void {
  socket.on("error", () => {});
  socket.on("data", (data: Buffer) => {
    for (const [, command = ""] of data.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)(?=\r\n)/g))
      if (/^info$/i.test(command)) socket.write(`$${info.length}\r\n${info}\r\n`);
      else socket.write(data.includes("bad") ? "-ERR bad\r\n" : "+OK\r\n");
  });
}

t.test("what a request waits for in Redis is told, with what failed", async (t) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    answer(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const connection = new RedisConnection({
    redis: {
      servers: { kind: "standalone", host: "127.0.0.1", port },
      username: undefined,
      password: undefined,
      database: 0,
      prefix: "entrepot:",
      tls: undefined,
    },
    upstreams: [],
    nodeName: "node",
    notices: () => {},
    pause: realPause,
  });
  t.teardown(() => {
    connection.close();
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await connection.settled;
  const { span, recorded } = recordedSpan();
  await within(span, async () => {
    t.equal(await connection.run("read a tag record", (client) => client.get("good")), "OK");
    await t.rejects(
      connection.run("read a link", (client) => client.get("bad")),
      { code: "unavailable" },
    );
  });
  t.match(recorded.below, [
    { name: "redis", ended: "well", attributes: { "entrepot.action": "read a tag record" } },
    { name: "redis", ended: "failed", attributes: { "entrepot.action": "read a link" } },
  ]);
});
