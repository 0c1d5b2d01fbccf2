// One connection and what its client does to it: requests in advance, rubbish, nothing, and leaving.
import { readdirSync, readlinkSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import type { RequestEvent } from "../../src/ports/event.ts";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { startPlainListener } from "../fixtures/plain-listener.ts";
import { openRawClient, type RawClient } from "../fixtures/raw-client.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { still } from "../fixtures/still.ts";

const mebibyte = 1024 * 1024;
const blob = randomBytesFor("blob", 16 * mebibyte);

class Events {
  readonly all: RequestEvent[] = [];
  #waiting: (() => void)[] = [];

  readonly take = (event: RequestEvent): void => {
    this.all.push(event);
    for (const look of this.#waiting.splice(0)) look();
  };

  async until(count: number): Promise<readonly RequestEvent[]> {
    while (this.all.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.all;
  }
}

interface WithBlob {
  readonly mirror: Mirror;
  readonly events: Events;
  /** GET of a blob of 16 MiB that is here, without the empty line at its end. */
  readonly head: string;
  readonly get: string;
}

async function startWithBlob(t: Test): Promise<WithBlob> {
  const upstream = await startUpstream(t);
  const events = new Events();
  const mirror = await startMirror(t, upstream, { sinks: [{ name: "test", onEvent: events.take }] });
  const digest = upstream.addBlob("a", blob);
  upstream.addImage("a", "1", makeImage({ layers: [10] }));
  await mirror.get(`/v2/a/blobs/${digest}`);
  await mirror.get("/v2/a/manifests/1");
  events.all.length = 0;
  const head = `GET /v2/a/blobs/${digest} HTTP/1.1\r\nHost: a\r\n`;
  return { mirror, events, head, get: `${head}\r\n` };
}

/** Files of the mirror's store that this process has open. */
function openBlobs({ directory }: Mirror): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return targets.filter((target) => target.startsWith(`${directory}/blobs/`)).length;
}

/** A client that has asked for the blob and takes none of it. */
async function startReading(t: Test, { mirror, get }: WithBlob): Promise<RawClient> {
  const client = await openRawClient(t, mirror.url);
  client.write(get);
  await client.received(1);
  client.pause();
  return client;
}

t.test("a CONNECT behind other requests leaves nothing open, and every request has its event", async (t) => {
  const started = await startWithBlob(t);
  const { mirror, events, get } = started;
  const before = openBlobs(mirror);
  for (const pipelined of [0, 1, 450]) {
    events.all.length = 0;
    const client = await startReading(t, started);
    client.write(`${get.repeat(pipelined)}CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n`);
    await still(() => openBlobs(mirror));
    t.ok(openBlobs(mirror) <= before + 1, "one file for one connection");
    client.socket.destroy();
    const all = await events.until(pipelined + 2);
    t.equal(all.length, pipelined + 2);
    t.ok(
      all.every(
        ({ result, abortedBy, client }) =>
          result === "aborted" && abortedBy === "client" && client === "127.0.0.1",
      ),
      "left, by its client, whose address is told",
    );
    while (openBlobs(mirror) > before) await turn();
  }
  t.equal((await mirror.get("/v2/a/manifests/1")).status, 200);
});

t.test("a CONNECT is refused, in its turn, and ends the connection", async (t) => {
  const { mirror, events } = await startWithBlob(t);
  const client = await openRawClient(t, mirror.url);
  const manifest = "GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n";
  client.write(`${manifest.repeat(3)}CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n${manifest}`);
  t.notOk(await client.closed, "in good order");
  t.strictSame(
    client.answers().map(({ status, complete }) => [status, complete]),
    [
      [200, true],
      [200, true],
      [200, true],
      [405, true],
    ],
  );
  await events.until(4);
  t.match(events.all.at(-1), { method: "CONNECT", status: 405, result: "denied" });
});

const rubbish: readonly (readonly [string, string])[] = [
  ["noise", "\0\0garbage\r\n\r\n"],
  ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["a malformed request", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"],
  ["headers without end", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(80_000)}`],
  ["a body that is none", "PUT /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
  ["a strange coding", "GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"],
  ["two lengths", "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
];

t.test(
  "rubbish behind an answer under way ends the connection after it, and changes no byte of it",
  async (t) => {
    const started = await startWithBlob(t);
    for (const [name, bytes] of rubbish) {
      const client = await startReading(t, started);
      client.write(bytes);
      await still(() => client.socket.bytesWritten - client.socket.writableLength);
      client.resume();
      await client.closed;
      const [answer, ...others] = client.answers();
      if (name === "HTTP/2") t.ok(answer?.complete !== true || answer.body.equals(blob), name);
      else t.ok(answer?.body.equals(blob), name);
      t.ok(
        others.every(({ status, complete }) => [400, 431].includes(status) && complete),
        "at most an answer to itself comes behind",
      );
    }
  },
);

t.test("rubbish behind answers that have not begun leaves them whole, too", async (t) => {
  const { mirror, get } = await startWithBlob(t);
  const manifest = "GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const [name, bytes] of rubbish.slice(0, 4)) {
    const client = await openRawClient(t, mirror.url);
    client.write(manifest + get + manifest + bytes);
    t.notOk(await client.closed, name);
    const answers = client.answers();
    t.ok(
      answers.slice(0, 3).every(({ status, complete }) => status === 200 && complete),
      "three answers",
    );
    t.ok(answers[1]?.body.equals(blob));
    t.ok(
      answers.slice(3).every(({ status }) => status === 431),
      "and none to the rubbish, unless it was still to be read then",
    );
  }
});

t.test("a request whose body cannot be read has one answer", async (t) => {
  const { mirror, events } = await startWithBlob(t);
  const request = (method: string, headers: string, body: string): string =>
    `${method} /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n${headers}\r\n\r\n${body}`;
  const shapes: readonly (readonly [string, string])[] = [
    ["xchunked", request("GET", "Transfer-Encoding: xchunked", "")],
    ["xchunked with a body", request("PUT", "Transfer-Encoding: xchunked", "5\r\nhello\r\n0\r\n\r\n")],
    ["gzip, chunked", request("GET", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n")],
    ["chunked, gzip", request("PUT", "Transfer-Encoding: chunked, gzip", "5\r\nhello\r\n0\r\n\r\n")],
    ["a chunk that is none", request("GET", "Transfer-Encoding: chunked", "zz\r\n")],
    ["a later chunk that is none", request("PUT", "Transfer-Encoding: chunked", "1\r\na\r\nzz\r\n")],
    ["a chunk without end", request("POST", "Transfer-Encoding: chunked", "1\r\nab\r\n")],
    ["two codings", request("PATCH", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "0\r\n\r\n")],
  ];
  for (const [name, bytes] of shapes) {
    events.all.length = 0;
    const client = await openRawClient(t, mirror.url);
    client.write(bytes);
    await client.closed;
    const answers = client.answers();
    t.equal(answers.length, 1, name);
    t.ok(answers[0]?.complete, "whole");
    t.ok([400, 405].includes(answers[0]?.status ?? 0), `refused: ${answers[0]?.status}`);
    // What the parser does not take for a request is none.
    if (answers[0]?.headers["x-request-id"] === undefined) continue;
    await events.until(1);
    t.equal(events.all.length, 1);
    t.equal(events.all[0]?.status, answers[0]?.status);
  }
});

t.test("a request without Host is refused with an event", async (t) => {
  const { mirror, events } = await startWithBlob(t);
  t.match(await mirror.raw("GET /v2/ HTTP/1.1\r\n\r\n"), /^HTTP\/1\.1 400 /);
  t.match(await mirror.raw("GET /v2/ HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 200 /, "which HTTP/1.0 has none of");
  t.match(await events.until(2), [{ status: 400 }, { status: 200 }]);
});

t.test("requests in advance are answered in their order, one at a time", async (t) => {
  const body = randomBytesFor("manifest", 100_000);
  const { listener, url, events, ended } = await startPlainListener(t, body);
  const client = await openRawClient(t, url);
  client.pause();
  const count = 1_250;
  let requests = "";
  for (let i = 0; i < count; i++) requests += `GET /v2/a/manifests/${i} HTTP/1.1\r\nHost: a\r\n\r\n`;
  client.write(requests);
  await still(() => events.length);
  t.equal(listener.inFlight, 1);
  t.ok(events.length < count / 2, "what nobody takes is not answered");
  client.resume();
  await client.received(count * body.length);
  await ended(count);
  await still(() => client.length);
  const answers = client.answers();
  t.equal(answers.length, count);
  t.ok(answers.every((answer) => answer.body.equals(body)));
  t.strictSame(
    events.map(({ reference }) => reference),
    Array.from({ length: count }, (_, i) => String(i)),
  );
});

t.test("requests in advance are not read without end", async (t) => {
  // More than the kernels' buffers take: the first answer is never out, so no write behind it is refused.
  const { listener, url, events } = await startPlainListener(t, Buffer.alloc(48 * mebibyte, "m"));
  const requests = {
    reads: "GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "reads with a body": "GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "a read and writes":
      "GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n" +
      "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".repeat(100),
  };
  for (const [name, request] of Object.entries(requests)) {
    const client = await openRawClient(t, url);
    client.pause();
    const seen = events.length;
    const all = request.repeat(Math.ceil((64 * mebibyte) / request.length));
    client.write(all);
    await still(() => client.socket.writableLength + events.length);
    t.ok(client.socket.writableLength > 0, `${name}: what is not read stays with the client`);
    t.ok(listener.inFlight <= 1);
    client.socket.destroy();
    await still(() => listener.inFlight + events.length);
    t.equal(listener.inFlight, 0);
    // Besides what was answered into the kernels' buffers: the requests of one or two reads.
    t.comment(`${name}: ${events.length - seen} events`);
  }
});

t.test(
  "a client that takes no byte of a whole answer is cut off, and one that takes some is not",
  async (t) => {
    let now = 0;
    const body = Buffer.alloc(32 * mebibyte, "m");
    const { listener, url, ended } = await startPlainListener(t, body, { now: () => now });
    const client = await openRawClient(t, url);
    client.pause();
    client.write("GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    await still(() => listener.inFlight);
    for (let taken = 8; taken <= 16; taken += 8) {
      now += 200_000;
      listener.cutStalled();
      client.resume();
      await client.received(taken * mebibyte);
      client.pause();
      await still(() => client.length);
    }
    t.equal(listener.inFlight, 1, "slow, but it goes on");
    now += 299_000;
    listener.cutStalled();
    t.equal(listener.inFlight, 1);
    now += 2_000;
    listener.cutStalled();
    const [event] = await ended(1);
    t.match(event, {
      result: "error",
      abortedBy: "node",
      detail: "the client stopped reading",
      bytesExpected: body.length,
    });
    t.ok((event?.bytesSent ?? 0) < body.length, "bytes really sent");
    t.equal(listener.inFlight, 0);
  },
);

t.test("answers of every kind have the stall check", async (t) => {
  let now = 0;
  const small = Buffer.alloc(10_000, "m");
  const { listener, url, events, ended } = await startPlainListener(t, small, { now: () => now });
  const client = await openRawClient(t, url);
  client.pause();
  // The small answers before it fill what the kernels hold.
  client.write("GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_300));
  await still(() => events.length);
  t.equal(listener.inFlight, 1);
  const before = events.length;
  now += 301_000;
  listener.cutStalled();
  await ended(1_300);
  t.equal(events[before]?.abortedBy, "node");
  t.ok(
    events.slice(before + 1).every(({ abortedBy, status }) => abortedBy === "client" && status === 499),
    "those behind it end with it",
  );
});

t.test("half a head is waited for as long as is said, and silence gets no answer", async (t) => {
  const { url } = await startPlainListener(t, Buffer.from("m"), { timeouts: { headers: 300 } });
  const silent = await openRawClient(t, url);
  const half = await openRawClient(t, url);
  half.write("GET /v2/ HTTP/1.1\r\nHos");
  const later = await openRawClient(t, url);
  later.write("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\nGET /v2/ HT");
  await Promise.all([silent.closed, half.closed, later.closed]);
  t.equal(silent.text, "");
  t.match(half.text, /^HTTP\/1\.1 408 /);
  t.strictSame(
    later.answers().map(({ status }) => status),
    [200, 408],
  );
});

t.test("a late head behind an answer under way changes no byte of it", async (t) => {
  const body = Buffer.alloc(32 * mebibyte, "m");
  const { url } = await startPlainListener(t, body, { timeouts: { headers: 300 } });
  const client = await openRawClient(t, url);
  client.pause();
  client.write("GET /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /v2/ HT");
  const other = await openRawClient(t, url);
  await other.closed;
  client.resume();
  await client.closed;
  t.ok(client.answers()[0]?.body.equals(body));
  t.equal(client.answers().length, 1);
});

t.test(
  "a client that resets or leaves in the middle is an aborted request of its own, and no bug",
  async (t) => {
    const started = await startWithBlob(t);
    const { mirror, events } = started;
    for (const how of ["resetAndDestroy", "destroy"] as const) {
      for (const size of [0, mebibyte, 5 * mebibyte]) {
        events.all.length = 0;
        const clients = await Promise.all(Array.from({ length: 10 }, () => startReading(t, started)));
        for (const client of clients) {
          client.resume();
          if (size > 0) await client.received(size);
          client.socket[how]();
        }
        const all = await events.until(clients.length);
        t.ok(
          all.every(
            ({ status, result, abortedBy, client, detail }) =>
              status === 200 &&
              result === "aborted" &&
              abortedBy === "client" &&
              client === "127.0.0.1" &&
              detail === undefined,
          ),
          `${how} after ${size} bytes`,
        );
      }
    }
    t.notOk(mirror.lines.some(({ level }) => level === "error"));
  },
);

t.test("followers of a fill that reset are aborted requests, too", async (t) => {
  const upstream = await startUpstream(t);
  const events = new Events();
  const mirror = await startMirror(t, upstream, { sinks: [{ name: "test", onEvent: events.take }] });
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 15 * mebibyte, releaseOn: gate.promise } : undefined,
  );
  const digest = upstream.addBlob("a", blob);
  const clients = await Promise.all(Array.from({ length: 10 }, () => openRawClient(t, mirror.url)));
  for (const client of clients) client.write(`GET /v2/a/blobs/${digest} HTTP/1.1\r\nHost: a\r\n\r\n`);
  for (const [i, client] of clients.entries()) {
    await client.received((i + 1) * mebibyte);
    client.socket.resetAndDestroy();
  }
  t.ok(
    (await events.until(10)).every(({ result, abortedBy }) => result === "aborted" && abortedBy === "client"),
  );
  gate.resolve();
  t.notOk(mirror.lines.some(({ level }) => level === "error"));
});

t.test("a user and a password before a host in the target reach no event", async (t) => {
  const { url, events, ended } = await startPlainListener(t, Buffer.from("m"));
  const targets = [
    "http://user:s3cret@host/v2/a/manifests/1",
    "http://user:s3cret@host:80/v2/?x=y@z",
    "HTTP://user:s3cret@host",
    "http://user:s3/cr@et:s3cret@host/v2/",
    `http://user:${"s3cret".repeat(1_000)}@host/v2/`,
    "//user:s3cret@host/v2/",
    "/http://user:s3cret@host/v2/",
    "ftp://s3cret@host/",
  ];
  for (const target of targets) {
    const client = await openRawClient(t, url);
    client.write(`GET ${target} HTTP/1.1\r\nHost: u:s3cret@a\r\nConnection: close\r\n\r\n`);
    await client.closed;
  }
  const client = await openRawClient(t, url);
  client.write("CONNECT user:s3cret@host:443 HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.closed;
  const plain = await openRawClient(t, url);
  plain.write("GET /v2/a@b/tags HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await plain.closed;
  t.notMatch(JSON.stringify(await ended(targets.length + 1)), /s3cret/);
  await ended(targets.length + 2);
  t.equal(events[0]?.path, "http://[redacted]@host/v2/a/manifests/1");
  t.equal(events.at(-1)?.path, "/v2/a@b/tags");
});
