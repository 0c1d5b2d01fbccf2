// Redis that is not there, or another program in its place. Real servers are in test/system.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import type { Notice } from "../../../src/ports/event.ts";
import { RedisConnection } from "../../../src/storage/redis/connection.ts";
import { RedisListener } from "../../../src/storage/redis/listener.ts";
import { atOnce, ManualPause } from "../../fixtures/manual-time.ts";

interface Impostor {
  readonly port: number;
  /** Connections so far. */
  readonly connections: () => number;
  /** Resolves after so many connections in all. */
  readonly connected: (count: number) => Promise<void>;
}

/** A port of 127.0.0.1 that calls `greet` with each connection. */
async function listenOn(t: Test, greet: (socket: Socket) => void): Promise<Impostor> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    greet(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const connected = async (count: number): Promise<void> => {
    while (sockets.length < count) await once(server, "connection");
  };
  return { port: (server.address() as AddressInfo).port, connections: () => sockets.length, connected };
}

function open(t: Test, port: number): { connection: RedisConnection; told: Promise<Notice> } {
  const time = new ManualPause();
  time.instant = () => true;
  const { promise: told, resolve } = Promise.withResolvers<Notice>();
  const options = {
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
    notices: resolve,
    pause: time.pause,
  } as const;
  const connection = new RedisConnection(options);
  const listener = new RedisListener(options);
  t.teardown(() => {
    connection.close();
    listener.close();
  });
  return { connection, told };
}

async function refusesAtOnce(t: Test, connection: RedisConnection): Promise<void> {
  t.equal(connection.usable, false);
  await t.rejects(atOnce(connection.run("ask", (client) => client.ping())), {
    name: "StoreError",
    code: "unavailable",
    message: /^cannot ask: redis does not answer: /,
  });
}

const impostors: readonly [who: string, greet: (socket: Socket) => void][] = [
  ["one who never answers", () => {}],
  ["one who hangs up", (socket) => socket.destroy()],
  ["a web server", (socket) => socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))],
  ["one who talks nonsense", (socket) => socket.write("*1000000000\r\n$-5\r\n")],
  [
    "one who refuses",
    (socket) => socket.on("data", () => socket.write("-NOAUTH Authentication required.\r\n")),
  ],
];

for (const [who, greet] of impostors)
  t.test(who, async (t) => {
    const { port, connected } = await listenOn(t, greet);
    const { connection, told } = open(t, port);
    await refusesAtOnce(t, connection);
    t.match(await told, { kind: "shared_store", store: "redis", usable: false });
    await refusesAtOnce(t, connection);
    await connected(4);
    t.pass("both connections are tried again");
  });

t.test("nobody there", async (t) => {
  const { connection, told } = open(t, 1);
  await refusesAtOnce(t, connection);
  t.match(await told, { usable: false, message: /ECONNREFUSED/ });
});

t.test("closed before it was open", async (t) => {
  const { port, connections } = await listenOn(t, () => {});
  const { connection } = open(t, port);
  connection.close();
  connection.close();
  await refusesAtOnce(t, connection);
  t.equal(connections(), 0);
});

t.test("one that falls silent is found by a check, without traffic", async (t) => {
  let silent = false;
  const answers: Readonly<Record<string, string>> = { info: "$8\r\nredis:1\n\r\n", ping: "+PONG\r\n" };
  const { port } = await listenOn(t, (socket) =>
    socket.on("data", (data) => {
      for (const [, command = ""] of String(data).matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g))
        if (!silent) socket.write(answers[command.toLowerCase()] ?? "+OK\r\n");
    }),
  );
  const { connection, told } = open(t, port);
  t.match(await told, { store: "redis", usable: true });
  await connection.check();
  t.equal(connection.usable, true);
  silent = true;
  await connection.check();
  t.equal(connection.usable, false);
  await connection.check();
});
