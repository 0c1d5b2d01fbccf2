import { createHash } from "node:crypto";
import t from "tap";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const size = 300_000;

function isHashOf(body: Buffer, digest: string): boolean {
  return `sha256:${createHash("sha256").update(body).digest("hex")}` === digest;
}

t.test("a blob crosses the link once; its headers are the same on miss, hit and HEAD", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("blob", size);
  const digest = upstream.addBlob("team/app", bytes);
  const path = `/v2/team/app/blobs/${digest}`;

  const miss = await mirror.get(path);
  await mirror.line(({ msg }) => msg === "fill committed");
  const hit = await mirror.get(path);
  const head = await mirror.ask("HEAD", path);

  for (const { status, headers } of [miss, hit, head]) {
    t.equal(status, 200);
    t.match(headers, {
      "content-type": "application/octet-stream",
      "content-length": String(size),
      "docker-content-digest": digest,
      "docker-distribution-api-version": "registry/2.0",
      etag: `"${digest}"`,
      "accept-ranges": "bytes",
    });
    t.notOk("content-encoding" in headers);
  }
  t.ok(isHashOf(miss.body, digest));
  t.ok(isHashOf(hit.body, digest));
  t.equal(head.body.length, 0);
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
  t.equal(upstream.count({ kind: "blob", method: "HEAD" }), 0);
});

t.test("every byte of a small blob arrives as it is, from upstream, disk and memory", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  for (const length of [1, 256, 12 * 1024, 12 * 1024 + 1, 64 * 1024]) {
    const bytes = Buffer.from(Array.from({ length }, (_, at) => at % 256));
    const digest = upstream.addBlob("team/app", bytes);
    const path = `/v2/team/app/blobs/${digest}`;
    for (const said of [/fwd=uri-miss/, /detail=disk/, /detail=memory/]) {
      const answer = await mirror.get(path);
      t.ok(answer.body.equals(bytes), `${length} bytes`);
      t.equal(answer.headers["content-length"], String(length));
      t.match(answer.headers["cache-status"], said);
      await mirror.line((line) => line.msg === "fill committed" && line.digest === digest);
    }
    const part = await mirror.get(path, { range: "bytes=0-99" });
    t.equal(part.status, 206);
    t.ok(part.body.equals(bytes.subarray(0, 100)));
  }
});

t.test("ranges: hit, miss and running fill answer alike", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("ranges", size);
  const digest = upstream.addBlob("team/app", bytes);
  const path = `/v2/team/app/blobs/${digest}`;

  const cases: { range: string; status: number; from?: number; to?: number }[] = [
    { range: "bytes=0-1", status: 206, from: 0, to: 1 },
    { range: "bytes=100000-", status: 206, from: 100_000, to: size - 1 },
    { range: "bytes=-5", status: 206, from: size - 5, to: size - 1 },
    { range: `bytes=${size - 10}-${size + 10}`, status: 206, from: size - 10, to: size - 1 },
    { range: "bytes=5-2", status: 200 },
    { range: "lines=1-2", status: 200 },
    { range: "bytes=abc", status: 200 },
    { range: `bytes=${size}-`, status: 416 },
  ];
  const check = async (name: string): Promise<void> => {
    for (const { range, status, from = 0, to = size - 1 } of cases) {
      const answer = await mirror.get(path, { range });
      t.equal(answer.status, status, `${name}: ${range}`);
      t.ok(answer.complete);
      if (status === 416) {
        t.equal(answer.headers["content-range"], `bytes */${size}`);
        t.equal(Number(answer.headers["content-length"]), answer.body.length, "a true length");
        continue;
      }
      if (status === 206) t.equal(answer.headers["content-range"], `bytes ${from}-${to}/${size}`);
      t.equal(answer.headers["content-length"], String(to - from + 1));
      t.equal(answer.headers["content-type"], "application/octet-stream");
      t.ok(answer.body.equals(bytes.subarray(from, to + 1)), `${name}: bytes of ${range}`);
    }
  };

  const gate = Promise.withResolvers<void>();
  const heal = upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 150_000, releaseOn: gate.promise } : undefined,
  );
  const early = await mirror.get(path, { range: "bytes=5-9" });
  t.equal(early.status, 206, "a cold blob answers a range before it is whole");
  t.ok(early.body.equals(bytes.subarray(5, 10)));
  t.equal(upstream.count({ kind: "blob" }), 1);
  const late = mirror.get(path, { range: "bytes=-3" });
  gate.resolve();
  heal();
  t.ok((await late).body.equals(bytes.subarray(size - 3)), "a range not yet there waits for its bytes");
  await check("hit");
  t.equal(upstream.count({ kind: "blob" }), 1, "one transfer for all of it");
});

t.test("several ranges come as multipart/byteranges with a true length", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("parts", size);
  const digest = upstream.addBlob("team/app", bytes);
  const answer = await mirror.get(`/v2/team/app/blobs/${digest}`, { range: "bytes=0-9,100-109,-10" });
  t.equal(answer.status, 206);
  const type = answer.headers["content-type"] ?? "";
  const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(type)?.[1];
  t.ok(boundary, type);
  t.equal(Number(answer.headers["content-length"]), answer.body.length);
  const parts = answer.body.toString("latin1").split(`--${boundary}`).slice(1, -1);
  t.equal(parts.length, 3);
  for (const [i, start] of [0, 100, size - 10].entries()) {
    const [head, ...rest] = (parts[i] as string).split("\r\n\r\n");
    t.match(head, `Content-Range: bytes ${start}-${start + 9}/${size}`);
    const body = Buffer.from(rest.join("\r\n\r\n"), "latin1").subarray(0, 10);
    t.ok(body.equals(bytes.subarray(start, start + 10)));
  }
  t.ok(answer.body.toString("latin1").endsWith(`\r\n--${boundary}--\r\n`));
});

t.test("1,024 ranges in one header are answered, not refused with 431", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("many", 400_000);
  const digest = upstream.addBlob("team/app", bytes);
  const ranges = Array.from({ length: 1024 }, (_, i) => `${i * 300}-${i * 300 + 9}`).join(",");
  const answer = await mirror.get(`/v2/team/app/blobs/${digest}`, { range: `bytes=${ranges}` });
  t.equal(answer.status, 206);
  t.equal(answer.body.toString("latin1").match(/Content-Range:/g)?.length, 1024);
});

t.test("conditions: If-None-Match and If-Range against the digest", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("team/app", randomBytesFor("conditions", 1000));
  const path = `/v2/team/app/blobs/${digest}`;
  for (const method of ["GET", "HEAD"]) {
    const same = await mirror.ask(method, path, { "if-none-match": `"${digest}"` });
    t.equal(same.status, 304);
    t.equal(same.body.length, 0);
    t.equal((await mirror.ask(method, path, { "if-none-match": '"other"' })).status, 200);
  }
  t.equal((await mirror.get(path, { range: "bytes=0-1", "if-range": `"${digest}"` })).status, 206);
  t.equal((await mirror.get(path, { range: "bytes=0-1", "if-range": '"other"' })).status, 200);
});

t.test("HEAD of a cold blob asks upstream with HEAD and downloads nothing", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("team/app", randomBytesFor("head", size));
  const head = await mirror.ask("HEAD", `/v2/team/app/blobs/${digest}`);
  t.equal(head.status, 200);
  t.equal(head.headers["content-length"], String(size));
  t.strictSame(
    upstream.requests.map(({ method, kind }) => `${method} ${kind}`),
    ["HEAD blob"],
  );
  t.equal(upstream.bytesSent, 0);
});

t.test(
  "a blob cached through one repository is absent in another that upstream does not have it in",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    const digest = upstream.addBlob("secret/app", randomBytesFor("secret", size));
    upstream.addImage("open/app", "1", makeImage({ layers: [10] }));
    await mirror.get(`/v2/secret/app/blobs/${digest}`);
    for (const [method, range] of [["GET"], ["HEAD"], ["GET", "bytes=0-1"]] as const) {
      const answer = await mirror.ask(method, `/v2/open/app/blobs/${digest}`, range ? { range } : {});
      t.equal(answer.status, 404, `${method} ${range ?? ""}`);
      if (method === "GET")
        t.match(JSON.parse(answer.body.toString()), { errors: [{ code: "BLOB_UNKNOWN" }] });
    }
  },
);

t.test("upstream without a length: the client gets a chunked body, whole", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("chunked", size);
  const digest = upstream.addBlob("team/app", bytes);
  upstream.fault(({ kind }) => (kind === "blob" ? { noLength: true } : undefined));
  const answer = await mirror.get(`/v2/team/app/blobs/${digest}`);
  t.equal(answer.status, 200);
  t.notOk(answer.headers["content-length"]);
  t.ok(answer.complete);
  t.ok(answer.body.equals(bytes));
  const again = await mirror.ask("HEAD", `/v2/team/app/blobs/${digest}`);
  t.equal(again.headers["content-length"], String(size), "the length is known once it is here");
});

t.test(
  "wrong bytes of the right length: the body is cut, never complete, and nothing is stored",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    const bytes = randomBytesFor("wrong", size);
    const digest = upstream.addBlob("team/app", bytes);
    const path = `/v2/team/app/blobs/${digest}`;
    const heal = upstream.fault(({ kind }) => (kind === "blob" ? { corrupt: true } : undefined));
    const answers = await Promise.all([mirror.get(path), mirror.get(path), mirror.get(path)]);
    for (const { complete, body } of answers) {
      t.notOk(complete);
      t.ok(body.length <= size - 64 * 1024, "the last 64 KiB were held back");
    }
    const line = await mirror.line(
      ({ msg, status, result }) => msg === "request" && status === 200 && result === "error",
    );
    t.match(line, { aborted_by: "upstream", detail: "digest_mismatch" });
    heal();
    const healed = await mirror.get(path);
    t.ok(healed.complete && healed.body.equals(bytes), "the next request downloads it again");
  },
);

t.test("a body that cannot be saved ends with FIN, not RST", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("team/app", randomBytesFor("fin", size));
  upstream.fault(({ kind }) => (kind === "blob" ? { corrupt: true } : undefined));
  // `raw` rejects on ECONNRESET and resolves on a plain end.
  const text = await mirror.raw(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: m\r\n\r\n`);
  t.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  t.ok(text.length < size);
});

t.test("a client that leaves is an aborted request, and the blob is still fetched whole", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("leaver", size);
  const digest = upstream.addBlob("team/app", bytes);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
  );
  const controller = new AbortController();
  const leaver = fetch(new URL(`/v2/team/app/blobs/${digest}`, mirror.url), { signal: controller.signal });
  await (await leaver).body?.getReader().read();
  controller.abort();
  const line = await mirror.line(({ result }) => result === "aborted");
  t.match(line, { aborted_by: "client", status: 200 });
  gate.resolve();
  await mirror.line(({ msg }) => msg === "fill committed");
  const answer = await mirror.get(`/v2/team/app/blobs/${digest}`);
  t.ok(answer.body.equals(bytes));
  t.equal(upstream.count({ kind: "blob" }), 1);
});

t.test("clients that join a fill of their own repository cost upstream no question", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const bytes = randomBytesFor("joiners", size);
  const digest = upstream.addBlob("team/app", bytes);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) => (kind === "blob" ? { holdUntil: gate.promise } : undefined));
  const first = mirror.get(`/v2/team/app/blobs/${digest}`);
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  const others = Array.from({ length: 10 }, () => mirror.get(`/v2/team/app/blobs/${digest}`));
  gate.resolve();
  for (const answer of await Promise.all([first, ...others])) t.ok(answer.body.equals(bytes));
  t.equal(upstream.count({ method: "HEAD" }), 0);
  t.equal(upstream.count({ method: "GET" }), 1);
});
