// What an exchange says of itself, in its answer and in its event, over a real connection.
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import t, { type Test } from "tap";
import { Exchange } from "../../src/http/exchange.ts";
import type { RequestEvent } from "../../src/ports/event.ts";

/** The answer, up to the end of the connection, and the event of one request that `handle` takes. */
async function exchanged(t: Test, handle: (exchange: Exchange) => void | Promise<void>, version = "1.1") {
  const { promise: event, resolve } = Promise.withResolvers<RequestEvent>();
  let over = 0;
  const server = createServer((request, response) => {
    const exchange = new Exchange(request, response, client, {
      now: () => 0,
      over: () => over++,
      onEvent: resolve,
      originHeaders: { cacheStatus: true },
      ofWorker: false,
      basePathOf: () => "",
      originOf: () => undefined,
      certifiedOf: () => undefined,
    });
    void handle(exchange);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  let reset = false;
  socket.on("error", ({ code }: NodeJS.ErrnoException) => {
    reset = code === "ECONNRESET";
  });
  socket.write(`GET /v2/ HTTP/${version}\r\nHost: mirror\r\nConnection: close\r\n\r\n`);
  await new Promise((resolve) => socket.once("close", resolve));
  return { answer: Buffer.concat(chunks).toString("latin1"), event: await event, over, reset };
}

const client = { address: "192.0.2.1", network: "192.0.2.1", key: "192.0.2.1", exempt: false };
const found = { result: "hit", source: "disk" } as const;

t.test("Cache-Status is of what the cache gave: an error is made here", async (t) => {
  for (const status of [200, 206, 304, 399, 400, 404, 416, 502, 503]) {
    const { answer } = await exchanged(t, (exchange) => {
      exchange.found(found);
      exchange.send(status, {}, "");
    });
    t.equal(/\r\ncache-status: entrepot; hit/i.test(answer), status < 400, String(status));
  }
  for (const status of [200, 502]) {
    const { answer } = await exchanged(t, (exchange) => {
      exchange.found(found);
      exchange.begin(status, {}, 1);
      void exchange.write(Buffer.from("x")).then(() => exchange.end());
    });
    t.equal(/\r\ncache-status:/i.test(answer), status < 400, `${status}, in pieces`);
  }
});

t.test("a small body has all its bytes, whatever they are, each time it is sent", async (t) => {
  const body = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  for (const time of ["first", "second"]) {
    const { answer, event } = await exchanged(t, (exchange) => exchange.send(200, {}, body));
    t.equal(answer.slice(answer.indexOf("\r\n\r\n") + 4), body.toString("latin1"), time);
    t.equal(event.bytesSent, 256);
  }
});

t.test("why an answer ended early, and by whom", async (t) => {
  const begin = (exchange: Exchange): void => {
    exchange.found(found);
    exchange.begin(200, {}, 100);
    void exchange.write(Buffer.alloc(10)).catch(() => {});
  };
  const dropped = await exchanged(t, (exchange) => {
    begin(exchange);
    exchange.drop();
  });
  t.match(dropped.event, { result: "error", abortedBy: "node", detail: "the client stopped reading" });
  const told = await exchanged(t, (exchange) => {
    begin(exchange);
    exchange.findings.detail = "something else";
    exchange.drop();
  });
  t.match(told.event, { abortedBy: "node", detail: "something else" }, "what is known is not written over");
  const cut = await exchanged(t, (exchange) => {
    begin(exchange);
    exchange.cut("upstream");
    exchange.cut("node");
    exchange.drop();
  });
  t.match(cut.event, { result: "error", abortedBy: "upstream" }, "the first word counts");
  const whole = await exchanged(t, (exchange) => exchange.send(200, {}, "all"));
  t.match(whole.event, {
    status: 200,
    bytesSent: 3,
    bytesExpected: 3,
    abortedBy: undefined,
    detail: undefined,
  });
  for (const { over } of [dropped, told, cut]) t.equal(over, 1);
});

t.test("to HTTP/1.0 an answer without a length is cut by RST, for FIN would be its end", async (t) => {
  for (const [version, length, reset] of [
    ["1.0", undefined, true],
    ["1.0", 100, false],
    ["1.1", undefined, false],
    ["1.1", 100, false],
  ] as const) {
    const { reset: wasReset } = await exchanged(
      t,
      (exchange) => {
        exchange.begin(200, {}, length);
        void exchange.write(Buffer.alloc(10)).then(() => exchange.cut("upstream"));
      },
      version,
    );
    t.equal(wasReset, reset, `HTTP/${version}, length ${length}`);
  }
});
