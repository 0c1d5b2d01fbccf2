// A seeded fuzz of the raw listener: well-formed requests, pipelined and in pieces, followed by broken ones, from
// clients that leave, reset, half-close or do not read, in front of an upstream that fails now and then.
// FUZZ_SECONDS (60) and FUZZ_SEED (made up, and printed) say how long and what; FUZZ_ONLY=<number> repeats one
// connection of that seed. Run `node test/system/fuzz.test.ts` for more than a few minutes.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { type PushFault, startPushUpstream } from "../fixtures/push-upstream.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";
import type { StreamedAnswer } from "./fixtures/answer-stream.ts";
import { digestOf } from "./fixtures/content.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { openHandles } from "./fixtures/open-handles.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { converse } from "./fixtures/wire-client.ts";

const seconds = Number(process.env.FUZZ_SECONDS ?? 60);
const seed = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 32));
const only = process.env.FUZZ_ONLY === undefined ? undefined : Number(process.env.FUZZ_ONLY);
/** Connections at once. */
const clients = 40;
/** Bytes that a warm process may grow by, whatever it was sent. */
const growth = 120_000_000;

t.setTimeout((seconds + 180) * 1000);

const image = makeImage({ layers: [300_000, 70_001, 5], seed: "fuzz" });
const small = makeImage({ layers: [64 * 1024 + 1], seed: "small" });
const contents = new Map<string, Buffer>();
for (const { digest, manifest, config, layers } of [image, small]) {
  contents.set(digest, manifest);
  for (const { digest, bytes } of [config, ...layers]) contents.set(digest, bytes);
}
const repository = "team/app";
const blobs = [image.config, ...image.layers, ...small.layers].map(({ digest }) => digest);
const manifests = ["1", "2", image.digest, small.digest];
const absent = `sha256:${"0".repeat(64)}`;
const garbage =
  "abcdefghijklmnopqrstuvwxyz0123456789._-/:%@!;,\\\"'<>[]{}|^`~?#&=+* \t\0\r\n\x7f\x80\x85\xff";

interface CleanRequest {
  readonly id: string;
  readonly method: string;
  readonly bytes: Buffer;
}

/** A request there is nothing wrong with. */
function clean(random: SeededRandom, id: string): CleanRequest {
  const method = random.pick(["GET", "GET", "GET", "GET", "HEAD", "POST"]);
  const base = `/v2/${repository}`;
  const path =
    method === "POST"
      ? random.pick([
          `${base}/blobs/uploads/`,
          `${base}/blobs/uploads/?mount=${random.pick(blobs)}&from=${repository}`,
        ])
      : random.pick([
          () => `${base}/blobs/${random.pick(blobs)}`,
          () => `${base}/blobs/${random.pick(blobs)}`,
          () => `${base}/manifests/${random.pick(manifests)}`,
          () => `${base}/manifests/${random.pick(["none", absent])}`,
          () => `${base}/tags/list?n=${random.below(5)}`,
          () => `${base}/referrers/${image.digest}`,
          () => "/v2/",
          () => "/v2/_catalog",
        ])();
  const fields = ["Host: mirror", `X-Request-Id: ${id}`];
  if (method === "POST") fields.push("Content-Length: 0");
  if (method !== "POST" && random.chance(0.3)) {
    const from = random.below(80_000);
    const to = from + random.below(80_000);
    fields.push(
      `Range: bytes=${random.pick([`${from}-${to}`, `${from}-`, `-${from + 1}`, `0-0,${from}-${to}`, `${to + 9}-${from}`])}`,
    );
  }
  if (random.chance(0.1)) fields.push(`If-None-Match: "${random.pick(blobs)}"`);
  if (random.chance(0.1)) fields.push(`Accept: ${random.pick(["*/*", image.mediaType, "text/html"])}`);
  return { id, method, bytes: Buffer.from(`${method} ${path} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`) };
}

/** A request, or what looks a little like one. */
function dirty(random: SeededRandom): Buffer {
  const text = (length: number) => random.text(random.below(length), garbage);
  if (random.chance(0.05)) return random.bytes(random.below(3_000));
  if (random.chance(0.03)) return Buffer.concat([Buffer.from("160301020001", "hex"), random.bytes(500)]);
  const method = random.pick([
    ..."GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PRI get".split(" "),
    text(8),
  ]);
  const known = `/v2/${repository}/${random.pick([`blobs/${random.pick(blobs)}`, "manifests/1", "blobs/uploads/", `blobs/uploads/x?digest=${random.pick(blobs)}`, "tags/list"])}`;
  const at = random.below(known.length);
  const path = random.pick([
    known,
    known,
    `${known.slice(0, at)}${text(6)}${known.slice(at + random.below(3))}`,
    `${known.slice(0, at)}${random.pick(["%2e%2e", "%2f", "//", "/../", "%00", "\\", "#"])}${known.slice(at)}`,
    `http://user:secret@elsewhere${known}`,
    "*",
    "elsewhere:443",
  ]);
  const fields = ["Host: mirror"];
  for (let left = random.below(4); left > 0; left--)
    fields.push(
      random.pick([
        () => `Host: ${text(20)}`,
        () =>
          `Range: bytes=${random.pick(["5-1", "a-b", "99999999999999999999-", "0-4,".repeat(random.below(1_200))])}`,
        () =>
          `Content-Length: ${random.pick(["0", "5", "00", "-1", "1e3", "99999999999999999999", " 5", "5,5", "+5"])}`,
        () =>
          `Transfer-Encoding: ${random.pick(["chunked", "gzip, chunked", "chunked, chunked", "xchunked", "identity", "\x0bchunked"])}`,
        () => `Expect: ${random.pick(["100-continue", "x"])}`,
        () => `Connection: ${random.pick(["close", "upgrade", "content-length", text(10)])}`,
        () => `Upgrade: ${random.pick(["websocket", "h2c"])}`,
        () => `Via: ${random.pick(["1.1 a", text(50), "1.1 x, ".repeat(random.below(30))])}`,
        () => `X-Forwarded-For: ${text(40)}`,
        () => `Authorization: Basic ${text(20)}`,
        () => `__proto__: ${text(5)}`,
        () => `${text(20)}: ${text(60)}`,
        () => `X: ${"y".repeat(random.below(70_000))}`,
      ])(),
    );
  if (random.chance(0.03)) for (let left = 2_500; left > 0; left--) fields.push(`a${left}: b`);
  const content = text(300);
  let body = "";
  const framing = random.pick(["none", "none", "none", "length", "chunks"]);
  if (framing === "length") {
    fields.push(`Content-Length: ${random.chance(0.8) ? content.length : random.below(500)}`);
    body = content;
  } else if (framing === "chunks") {
    const size = random.chance(0.8) ? content.length.toString(16) : text(5);
    fields.push("Transfer-Encoding: chunked");
    body = `${size}\r\n${content}\r\n0\r\n\r\n`;
  }
  const line = random.chance(0.05) ? "\n" : "\r\n";
  const version = random.chance(0.9) ? "1.1" : random.pick(["1.0", "0.9", "2.0", "9.9"]);
  const bytes = Buffer.from(
    `${method} ${path} HTTP/${version}${line}${fields.join(line)}${line}${line}${body}`,
    "latin1",
  );
  return random.chance(0.4) ? mutated(random, bytes) : bytes;
}

function mutated(random: SeededRandom, bytes: Buffer): Buffer {
  let result = Buffer.from(bytes);
  for (let left = 1 + random.below(3); left > 0; left--) {
    const at = random.below(result.length + 1);
    const [before, after] = [result.subarray(0, at), result.subarray(at)];
    result = random.pick([
      () => Buffer.concat([before, random.bytes(1), after.subarray(1)]),
      () => Buffer.concat([before, random.bytes(random.below(6)), after]),
      () => Buffer.concat([before, after.subarray(random.below(9))]),
      () => Buffer.from(before),
      () => Buffer.concat([result, after]),
    ])();
  }
  return result;
}

/** What is wrong with the bytes of an answer, as far as it says whose bytes they are. */
function wrongBytes({ status, headers, body, complete }: StreamedAnswer): string | undefined {
  const content = contents.get(headers.get("docker-content-digest") ?? "");
  if (content === undefined || body.length === 0) return undefined;
  if (status === 200) {
    if (!body.equals(content.subarray(0, body.length))) return "200 with wrong bytes";
    if (complete && body.length !== content.length)
      return `200 of ${body.length} bytes for ${content.length}`;
  }
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get("content-range") ?? "");
  if (status === 206 && range !== null) {
    const wanted = content.subarray(Number(range[1]), Number(range[2]) + 1);
    if (!body.equals(wanted.subarray(0, body.length))) return "206 with wrong bytes";
    if (complete && body.length !== wanted.length) return `206 of ${body.length} bytes for ${wanted.length}`;
  }
  return undefined;
}

t.test(`seed ${seed}, ${seconds} s`, async (t) => {
  if (!requires(t, "linux")) return;
  t.comment(`FUZZ_SEED=${seed}`);
  const upstream = await startPushUpstream(t);
  const content = upstream.content(repository);
  for (const [digest, bytes] of contents) content.blobs.set(digest, bytes);
  for (const [tag, { digest, manifest, mediaType }] of [["1", image] as const, ["2", small] as const]) {
    content.manifests.set(digest, { body: manifest, mediaType });
    content.tags.set(tag, digest);
  }
  const chaos = new SeededRandom(seed ^ 0x5eed);
  upstream.fault(() => {
    const faults: readonly PushFault[] = [
      { dieBeforeAnswer: true },
      { status: chaos.pick([204, 301, 400, 401, 418, 429, 500, 503]) },
      {
        headers: {
          location: chaos.pick(["::", "", "http://127.0.0.1:1/x", `/v2/${repository}/blobs/uploads/y`]),
        },
      },
      { dieInAnswer: 10 },
    ];
    return chaos.chance(0.06) ? chaos.pick(faults) : undefined;
  });

  const mirror = await startMirror(
    t,
    { url: upstream.url.href, username: "ci", password: "s3cret" },
    {
      env: {
        ENTREPOT_UPSTREAM_PUSH: "true",
        ENTREPOT_VIA: "true",
        ENTREPOT_SERVER_TIMING: "true",
        ENTREPOT_LOG_LEVEL: "debug",
        ENTREPOT_CACHE_KEEP_FREE: "0%",
      },
    },
  );
  const { pid } = mirror.process;
  const port = Number(mirror.host.split(":").at(-1));
  const events = new Map<string, number>();
  const complaints: string[] = [];
  void mirror.process
    .line(
      (line) => {
        const id = /"msg":"request"/.test(line) ? /"id":"(f-\d+-\d+)"/.exec(line)?.[1] : undefined;
        if (id !== undefined) events.set(id, (events.get(id) ?? 0) + 1);
        if (/"level":"fatal"|nobody foresaw/.test(line)) complaints.push(line);
        return undefined;
      },
      2 ** 31 - 1,
    )
    .catch(() => {});

  const wrong: string[] = [];
  const tally = { connections: 0, answers: 0, whole: 0, finished: 0 };
  /** Of clean requests that were asked, and those whose answer began. */
  const asked = new Set<string>();
  const answered = new Set<string>();

  async function connection(number: number): Promise<void> {
    const random = new SeededRandom((seed + Math.imul(number + 1, 0x9e3779b1)) >>> 0);
    const cleanOnes = Array.from({ length: random.below(7) }, (_, at) => clean(random, `f-${number}-${at}`));
    const tail = cleanOnes.length === 0 || random.chance(0.4) ? [dirty(random)] : [];
    if (tail.length > 0 && random.chance(0.2)) tail.push(dirty(random));
    const methods = new Map(cleanOnes.map(({ id, method }) => [id, method]));
    let bytes = Buffer.concat([...cleanOnes.map((one) => one.bytes), ...tail]);
    const parts: Buffer[] = [];
    const pieces = random.chance(0.3) ? 2 + random.below(6) : 1;
    for (let left = pieces; left > 1; left--) {
      const at = random.below(bytes.length + 1);
      parts.push(bytes.subarray(0, at));
      bytes = bytes.subarray(at);
    }
    parts.push(bytes);
    const manner = random.pick([
      "stays",
      "stays",
      "stays",
      "leaves",
      "resets",
      "half-closes",
      "reads slowly",
    ]);
    const leaves = manner === "leaves" || manner === "resets";
    const mistaken = (what: string): void => {
      wrong.push(`FUZZ_SEED=${seed} FUZZ_ONLY=${number}: ${what}`);
    };
    for (const { id } of cleanOnes) asked.add(id);
    const { stream, finished, left } = await converse({
      port,
      parts,
      gap: pieces > 1 ? random.below(15) : 0,
      isHead: (id) => {
        const method = id === undefined ? "GET" : methods.get(id);
        return method === undefined ? undefined : method === "HEAD";
      },
      answers: tail.length > 0 ? Number.POSITIVE_INFINITY : cleanOnes.length,
      limit: leaves ? random.below(60) : tail.length > 0 ? 500 : 60_000,
      leaveAt: leaves ? random.below(400_000) : Number.POSITIVE_INFINITY,
      reset: manner === "resets",
      halfClose: manner === "half-closes",
      ...(manner === "reads slowly" ? { pause: () => 5 } : {}),
    });
    tally.connections++;
    if (stream.junk !== undefined && (tail.length === 0 || stream.answers.length < cleanOnes.length))
      mistaken(`no HTTP: ${JSON.stringify(stream.junk.subarray(0, 200).toString("latin1"))}`);
    for (const answer of stream.answers) {
      tally.answers++;
      if (answer.complete) tally.whole++;
      if (answer.id !== undefined && methods.has(answer.id)) answered.add(answer.id);
      if (answer.status === 500) mistaken("status 500");
      const why = wrongBytes(answer);
      if (why !== undefined) mistaken(`${why} (${answer.id})`);
    }
    const order = stream.answers.flatMap(({ id }) => (id !== undefined && methods.has(id) ? [id] : []));
    if (order.some((id, at) => id !== cleanOnes[at]?.id)) mistaken(`answers out of order: ${order}`);
    // Half-closed, a client may be taken for gone; an answer that upstream broke ends the connection.
    const cut = stream.answers.some(
      ({ complete, headers }) => !complete || headers.get("connection") === "close",
    );
    // The answer to an upload that upstream broke: a client that is still sending gets a reset, and may never see its head, nor
    // what was before it and is not read yet.
    const unread = cleanOnes.slice(
      stream.answers.length,
      manner === "reads slowly" ? undefined : stream.answers.length + 1,
    );
    const lost = pieces > 1 && unread.some(({ method }) => method === "POST");
    if (finished) tally.finished++;
    else if (tail.length === 0 && !leaves && !cut && !lost && manner !== "half-closes")
      mistaken(
        `${stream.answers.length} of ${cleanOnes.length} answers${left ? " in a minute" : ", then closed"}: ${JSON.stringify(
          stream.answers.map(({ status, id, complete, body, headers }) => [
            status,
            id,
            complete,
            body.length,
            headers.get("content-length"),
          ]),
        )}`,
      );
  }

  if (only !== undefined) await connection(only);
  const deadline = performance.now() + seconds * 1000;
  let next = 0;
  let middle = 0;
  const warm = await openHandles(pid, mirror.cacheDirectory);
  await Promise.all(
    Array.from({ length: only === undefined ? clients : 0 }, async () => {
      while (performance.now() < deadline && mirror.process.running && wrong.length < 20) {
        await connection(next++);
        if (middle === 0 && performance.now() > deadline - (seconds * 1000) / 2)
          middle = (await openHandles(pid, mirror.cacheDirectory)).memory;
      }
    }),
  );

  t.same(wrong.slice(0, 20), [], "every answer is HTTP, in order, and every byte of it right");
  t.ok(mirror.process.running, "the process lives");
  t.same(complaints, [], "nothing that nobody foresaw");
  await upstream.stop();
  await until(
    "nothing is in flight",
    async () => (await mirror.metric("entrepot_http_in_flight_requests")) === 0,
    60_000,
  );
  const missing = () => [...answered].filter((id) => events.get(id) !== 1);
  await until("every answer has its event", () => missing().length === 0, 20_000).catch(() => {});
  t.same(missing().slice(0, 10), [], "one event for each request that was answered");
  const twice = [...asked].filter((id) => (events.get(id) ?? 0) > 1);
  t.same(twice.slice(0, 10), [], "and never two");
  let end = await openHandles(pid, mirror.cacheDirectory);
  const open = () => end.files.filter((path) => /\/(spool|blobs)\//.test(path));
  await until(
    "handles are closed",
    async () => {
      end = await openHandles(pid, mirror.cacheDirectory);
      return open().length === 0 && end.all <= warm.all + 8;
    },
    60_000,
  ).catch(() => {});
  t.same(open(), [], "no blob and no spool file is open");
  t.ok(end.all <= warm.all + 8, `${end.all} handles, ${warm.all} at the start`);
  if (only === undefined)
    t.ok(end.memory < middle + growth, `${mb(end.memory)} MB at the end, ${mb(middle)} MB half-way`);
  t.comment(JSON.stringify({ seed, ...tally, asked: asked.size, answered: answered.size }));
});

function mb(bytes: number): number {
  return Math.round(bytes / 1e6);
}

// What is compared with is what it is said to be.
for (const [digest, bytes] of contents) if (digestOf(bytes) !== digest) throw new Error(digest);
