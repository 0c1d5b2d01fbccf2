import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { EventStreams } from "../../../src/ops/stats/event-streams.ts";
import { eventually } from "../../fixtures/manual-time.ts";

/** Streams on a real server, with a clock that ticks when the test says so. */
async function start(t: Test, snapshot: () => string = () => "{}") {
  const ticks = new Set<() => void>();
  let made = 0;
  const streams = new EventStreams({
    snapshot: () => {
      made++;
      return snapshot();
    },
    every(interval, tick) {
      t.equal(interval, 2000);
      ticks.add(tick);
      return () => ticks.delete(tick);
    },
  });
  const responses: ServerResponse[] = [];
  const server = createServer((_, response) => {
    responses.push(response);
    streams.add(response);
  }).listen(0, "127.0.0.1");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    streams,
    responses,
    made: () => made,
    timers: () => ticks.size,
    tick: () => {
      for (const tick of ticks) tick();
    },
    open: async () => {
      const sent = request({ host: "127.0.0.1", port, agent: false }).end();
      sent.on("error", () => {});
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      return response;
    },
  };
}

async function next(response: IncomingMessage): Promise<string> {
  const [chunk] = (await once(response.setEncoding("utf8"), "data")) as [string];
  return chunk;
}

t.test("a snapshot at once, then one after each tick, made once for all", async (t) => {
  let n = 0;
  const { open, tick, made, timers, streams } = await start(t, () => `{"n":${n}}`);
  const [a, b] = [await open(), await open()];
  t.match(a.headers, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  t.equal(await next(a), 'retry: 3000\nid: 1\ndata: {"n":0}\n\n');
  t.equal(await next(b), 'retry: 3000\nid: 2\ndata: {"n":0}\n\n');
  n = 7;
  const both = Promise.all([next(a), next(b)]);
  tick();
  t.strictSame(await both, ['id: 3\ndata: {"n":7}\n\n', 'id: 3\ndata: {"n":7}\n\n']);
  t.equal(made(), 3);
  t.equal(timers(), 1);
  a.destroy();
  b.destroy();
  await eventually("both gone", () => streams.size === 0);
  t.equal(timers(), 0, "nobody watches, nothing is made");
});

t.test("who does not read misses snapshots, and holds bounded memory", async (t) => {
  const big = "x".repeat(1024 * 1024);
  const { open, tick, made, responses } = await start(t, () => big);
  const reader = await open();
  let read = 0;
  reader.on("data", (chunk: Buffer) => {
    read += chunk.length;
  });
  const sleeper = await open();
  sleeper.pause();
  for (let i = 1; i <= 40; i++) {
    tick();
    await eventually("the reader has it", () => read >= (i + 1) * big.length);
  }
  t.equal(made(), 42);
  const unread = responses[1]?.writableLength ?? Number.NaN;
  t.ok(unread > 0 && unread < 1.1 * big.length, `${unread} bytes wait for the sleeper, of 40 MiB`);
  sleeper.destroy();
  reader.destroy();
});

t.test("at most 50; the 51st is told to come back", async (t) => {
  const { open, streams } = await start(t);
  const all = await Promise.all(Array.from({ length: 50 }, () => open()));
  const late = await open();
  t.equal(late.statusCode, 503);
  t.equal(late.headers["retry-after"], "10");
  t.match(await text(late), /50 viewers/);
  all[0]?.destroy();
  await eventually("one has left", () => streams.size === 49);
  t.equal((await open()).statusCode, 200);
});

t.test("a document that cannot be made keeps the stream open", async (t) => {
  let broken = false;
  const { open, tick } = await start(t, () => {
    if (broken) throw new Error("no index");
    return "{}";
  });
  const response = await open();
  await next(response);
  broken = true;
  const comment = next(response);
  tick();
  t.equal(await comment, ":\n\n");
  broken = false;
  const data = next(response);
  tick();
  t.equal(await data, "id: 2\ndata: {}\n\n");
});

t.test("the end: a last snapshot, and browsers are told not to come back", async (t) => {
  const { open, streams } = await start(t);
  const response = await open();
  await next(response);
  const rest = text(response);
  streams.end();
  streams.end();
  t.equal(await rest, "id: 2\ndata: {}\n\n");
  t.equal((await open()).statusCode, 204);
});
