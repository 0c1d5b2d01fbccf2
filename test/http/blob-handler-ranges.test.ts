// Ranges of a blob that is still on its way: answered before the fill has reached them, marked, and accounted for.
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import t, { type Test } from "tap";
import { parseExposition } from "../fixtures/exposition.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { ask, type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import type { Fault } from "../fixtures/upstream-fault.ts";

const mebibyte = 1024 * 1024;
const bytes = randomBytesFor("layer", 8 * mebibyte + 77);
const size = bytes.length;

interface Run {
  readonly upstream: ScriptedUpstream;
  readonly mirror: Mirror;
  readonly path: string;
  /** Lets the transfer of the fill go on, which stands still at 256 KiB. */
  readonly goOn: () => void;
}

interface Faults {
  /** What upstream does with the range the client asks for. */
  readonly piece?: Fault;
  /** With every request for a range. */
  readonly ranged?: Fault;
}

async function start(t: Test, { piece, ranged }: Faults = {}, options: MirrorOptions = {}): Promise<Run> {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, options);
  const digest = upstream.addBlob("team/app", bytes);
  const { promise, resolve } = Promise.withResolvers<void>();
  upstream.fault(({ kind, headers: { range } }) => {
    if (kind !== "blob") return undefined;
    const fault = range === undefined ? {} : ranged;
    if (range?.endsWith(`-${size - 1}`)) return { ...piece, ...fault };
    const isFirst = range === undefined || range.startsWith("bytes=0-");
    return isFirst ? { stallAfter: 256 * 1024, releaseOn: promise, ...fault } : fault;
  });
  return { upstream, mirror, path: `/v2/team/app/blobs/${digest}`, goOn: resolve };
}

function rangesAsked({ requests }: ScriptedUpstream): (string | undefined)[] {
  return requests.filter(({ kind }) => kind === "blob").map(({ headers }) => headers.range);
}

async function wrongRanges(mirror: Mirror): Promise<number | undefined> {
  const { body } = await ask(mirror.ops, "GET", "/metrics");
  return parseExposition(body.toString()).get("entrepot_wrong_range_answers_total")?.samples[0]?.value;
}

t.test("the last bytes of a cold blob do not wait for those before them, and are marked", async (t) => {
  const { upstream, mirror, path, goOn } = await start(t);
  const first = await mirror.get(path, { range: "bytes=-60" });
  t.equal(first.status, 206);
  t.equal(first.headers["content-range"], `bytes ${size - 60}-${size - 1}/${size}`);
  t.ok(first.body.equals(bytes.subarray(size - 60)));
  t.equal(first.headers["cache-status"], "entrepot; fwd=uri-miss; detail=unverified");
  const again = await mirror.get(path, { range: "bytes=-50" });
  t.ok(again.body.equals(bytes.subarray(size - 50)));
  t.equal(again.headers["cache-status"], "entrepot; fwd=uri-miss; collapsed; detail=unverified");
  t.same(rangesAsked(upstream), [`bytes=0-${mebibyte - 1}`, `bytes=${size - 60}-${size - 1}`]);
  const [whole] = (await once(get(new URL(path, mirror.url)), "response")) as [IncomingMessage];
  goOn();
  t.ok(Buffer.concat(await whole.toArray()).equals(bytes));
  t.equal(whole.headers["cache-status"], "entrepot; fwd=uri-miss; collapsed", "a whole body ends verified");
  await mirror.line(({ msg }) => msg === "fill committed");
  const warm = await mirror.get(path, { range: "bytes=-60" });
  t.equal(warm.headers["cache-status"], "entrepot; hit; detail=disk");
  t.equal(upstream.bytesSent, size, "every byte once");
  t.equal(await wrongRanges(mirror), 0);
});

t.test("with cache.rangesBeforeVerified off a range waits for all of the blob", async (t) => {
  const { upstream, mirror, path, goOn } = await start(t, {}, { cache: { rangesBeforeVerified: false } });
  const whole = mirror.get(path);
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  let answered = false;
  const reading = mirror.get(path, { range: "bytes=0-9" }).then((answer) => {
    answered = true;
    return answer;
  });
  t.ok((await mirror.ask("HEAD", path)).status, "the mirror answers meanwhile");
  t.equal(answered, false);
  goOn();
  const part = await reading;
  t.equal(part.status, 206);
  t.ok(part.body.equals(bytes.subarray(0, 10)));
  t.notMatch(part.headers["cache-status"], "unverified");
  t.ok((await whole).body.equals(bytes));
  t.same(rangesAsked(upstream), [undefined]);
});

t.test("a client that leaves while its range waits for all of the blob is let go", async (t) => {
  const { upstream, mirror, path, goOn } = await start(t, {}, { cache: { rangesBeforeVerified: false } });
  const left = new AbortController();
  const reading = fetch(new URL(path, mirror.url), { headers: { range: "bytes=0-9" }, signal: left.signal });
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  left.abort();
  await t.rejects(reading);
  t.match(await mirror.line(({ msg, result }) => msg === "request" && result === "aborted"), { status: 499 });
  goOn();
});

t.test("who got a part of a blob that proves wrong is logged and counted", async (t) => {
  const { mirror, path, goOn } = await start(t, { piece: { corrupt: true } });
  const headers = { range: "bytes=-60", "user-agent": "lazy/1", "x-request-id": "the-one" };
  const part = await mirror.get(path, headers);
  t.equal(part.status, 206);
  t.notOk(part.body.equals(bytes.subarray(size - 60)));
  const near = await mirror.get(path, { range: "bytes=0-9" });
  t.ok(near.body.equals(bytes.subarray(0, 10)));
  const whole = mirror.get(path);
  goOn();
  t.equal((await whole).complete, false);
  await mirror.line(({ msg }) => msg === "upstream failed");
  const lines = mirror.lines.filter(({ msg }) => /part of a blob/.test(String(msg)));
  t.match(lines, [
    {
      level: "error",
      id: "the-one",
      client: "127.0.0.1",
      repository: "team/app",
      user_agent: "lazy/1",
      answers: 1,
    },
    { id: near.headers["x-request-id"] as string },
  ]);
  t.equal(lines.length, 2, "the whole body was cut instead");
  t.equal(await wrongRanges(mirror), 2);
});

t.test(
  "an upstream that ignores ranges, or answers 501, is asked once for ten minutes: clients wait for the fill",
  async (t) => {
    for (const ranged of [{ ignoreRange: true }, { status: 501 }])
      await t.test(JSON.stringify(ranged), async (t) => {
        const { upstream, mirror, path, goOn } = await start(t, { ranged });
        const reading = mirror.get(path, { range: "bytes=-60" });
        await upstream.until(() => upstream.count({ kind: "blob" }) === 2);
        goOn();
        const { status, body } = await reading;
        t.equal(status, 206);
        t.ok(body.equals(bytes.subarray(size - 60)));
        upstream.forget();
        const other = upstream.addBlob("team/app", randomBytesFor("another layer", size));
        t.equal((await mirror.get(`/v2/team/app/blobs/${other}`, { range: "bytes=-60" })).status, 206);
        t.same(rangesAsked(upstream), [undefined]);
      });
  },
);

t.test(
  "several ranges are asked of upstream one by one: where it answers 501 to several, bytes come once",
  async (t) => {
    const { upstream, mirror, path, goOn } = await start(t);
    upstream.fault(({ kind, headers }) =>
      kind === "blob" && headers.range?.includes(",") ? { status: 501 } : undefined,
    );
    // As podman 5 asks for the chunks it does not have, pieces all over the blob, besides the table at the end.
    const starts = Array.from({ length: 100 }, (_, i) => i * 80_000);
    const ranges = starts.map((start) => `${start}-${start + 49_999}`).join(",");
    const reading = mirror.get(path, { range: `bytes=${ranges}` });
    await upstream.until(() => upstream.count({ kind: "blob" }) >= 1);
    await mirror.get(path, { range: `bytes=${size - 4_096}-${size - 1}` });
    goOn();
    const { status, headers, body } = await reading;
    t.equal(status, 206);
    t.match(headers["content-type"], /^multipart\/byteranges/);
    const parts = body.toString("latin1").split("\r\n--").slice(1, -1);
    t.equal(parts.length, 100);
    for (const [i, part] of parts.entries()) {
      const got = Buffer.from(part.slice(part.indexOf("\r\n\r\n") + 4), "latin1");
      const from = starts[i] as number;
      if (!got.equals(bytes.subarray(from, from + 50_000))) t.fail(`part ${i}`);
    }
    await mirror.line(({ msg }) => msg === "fill committed");
    t.ok(rangesAsked(upstream).length <= 1 + 1 + 2 * 16);
    t.ok(upstream.bytesSent <= size * 1.05, `${upstream.bytesSent} of ${size} bytes`);
  },
);
