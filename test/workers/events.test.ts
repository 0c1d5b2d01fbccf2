// Events between two processes: what arrives is what was sent, in order, and what cannot be sent is counted.
import { PassThrough, Writable } from "node:stream";
import t from "tap";
import type { RequestEvent } from "../../src/ports/event.ts";
import { EventWriter, readEvents } from "../../src/workers/events.ts";
import { eventually } from "../fixtures/manual-time.ts";

const full: RequestEvent = {
  time: new Date(1_700_000_000_123),
  id: "an-id",
  traceId: "0af7651916cd43dd8448eb211c80319c",
  method: "GET",
  probe: undefined,
  route: "manifest_tag",
  path: "/v2/team/app/manifests/1",
  upstream: "far",
  repository: "team/app",
  reference: "1",
  status: 200,
  result: "hit",
  source: "memory",
  bytesSent: 10,
  bytesExpected: 10,
  ttfbMs: 0.25,
  durationMs: 0.5,
  upstreamStatus: 502,
  abortedBy: "client",
  detail: "a detail",
  client: "10.0.0.1",
  user: "jürgen",
  ofNode: true,
  forwardedFor: "10.0.0.2",
  userAgent: 'a "client"\nof ü and \u2028',
  host: "mirror.example.com",
  content: { digest: "sha256:1", mediaType: "application/json", size: 10 },
  write: { action: "mount", from: "team/other" },
};

const bare: RequestEvent = {
  ...full,
  traceId: undefined,
  probe: "livez",
  upstream: undefined,
  repository: undefined,
  reference: undefined,
  bytesExpected: undefined,
  ttfbMs: undefined,
  upstreamStatus: undefined,
  abortedBy: undefined,
  detail: undefined,
  user: undefined,
  ofNode: undefined,
  forwardedFor: undefined,
  userAgent: undefined,
  host: undefined,
  content: undefined,
  write: undefined,
};

t.test("every field arrives as it was, however the bytes are cut on the way", async (t) => {
  const pipe = new PassThrough();
  const cut = new PassThrough();
  pipe.on("data", (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += 7) cut.write(chunk.subarray(at, at + 7));
  });
  const events: RequestEvent[] = [];
  readEvents(cut, { onEvent: (event) => events.push(event), lost: () => t.fail("nothing is lost") });
  const writer = new EventWriter(pipe);
  for (const event of [full, bare, full]) writer.add(event);
  await writer.flush();
  await eventually("all have come", () => events.length === 3);
  t.strictSame(events, [full, bare, full]);
});

t.test("events go out by themselves, several in one write", async (t) => {
  const writes: string[] = [];
  const pipe = new Writable({
    write(chunk: Buffer, _encoding, done) {
      writes.push(String(chunk));
      done();
    },
  });
  const writer = new EventWriter(pipe);
  writer.add(full);
  writer.add(full);
  await eventually("they are written", () => writes.length > 0);
  t.equal(writes.length, 1);
  t.equal(writes[0]?.trimEnd().split("\n").length, 2);
});

t.test("while nobody reads, events beyond the bound are lost and counted", async (t) => {
  const held: (() => void)[] = [];
  const chunks: string[] = [];
  const pipe = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(String(chunk));
      held.push(done);
    },
  });
  const writer = new EventWriter(pipe);
  const large = { ...full, path: `/${"x".repeat(1_000_000)}` };
  for (let i = 0; i < 40; i++) {
    writer.add(large);
    void writer.flush();
  }
  while (held.length > 0) held.shift()?.();
  await writer.flush();
  while (held.length > 0) held.shift()?.();
  let lost = 0;
  const events: RequestEvent[] = [];
  const received = new PassThrough();
  readEvents(received, {
    onEvent: (event) => events.push(event),
    lost: (count) => {
      lost += count;
    },
  });
  received.write(chunks.join(""));
  await eventually("all are accounted for", () => events.length + lost === 40);
  t.ok(lost > 0);
  t.ok(events.length >= 15, `${events.length} were within the bound`);
});

t.test("a line that the death of the worker has cut is dropped", async (t) => {
  const pipe = new PassThrough();
  const events: RequestEvent[] = [];
  readEvents(pipe, { onEvent: (event) => events.push(event), lost: () => {} });
  const writer = new EventWriter(pipe);
  writer.add(full);
  await writer.flush();
  pipe.end('[1700000000000,"half');
  await eventually("the first has come", () => events.length === 1);
  t.strictSame(events, [full]);
});
