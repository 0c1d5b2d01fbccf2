import type { IncomingHttpHeaders } from "node:http";
import t from "tap";
import { UpstreamError } from "../../src/ports/upstream.ts";
import { cacheMarks, contentLength, contentRange, readStatus } from "../../src/upstream/answer.ts";

const now = Date.parse("2026-01-01T00:00:00Z");

const own = { sender: "upstream", host: "registry.example.com" } as const;
const storage = { sender: "storage", host: "storage.example.com" } as const;

function retryAfterOf(header: string | undefined): number | undefined {
  const headers: IncomingHttpHeaders = header === undefined ? {} : { "retry-after": header };
  try {
    readStatus("main", { status: 429, headers, ...own }, [200], now);
  } catch (error) {
    if (error instanceof UpstreamError) return error.retryAfter;
  }
  throw new Error("expected an UpstreamError");
}

t.test("Retry-After in seconds or as a date, at most an hour", async (t) => {
  for (const [header, seconds] of [
    [undefined, undefined],
    ["0", 0],
    ["90", 90],
    ["999999999", 3600],
    ["Thu, 01 Jan 2026 00:01:30 GMT", 90],
    ["Thu, 01 Jan 2027 00:00:00 GMT", 3600],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
    ["soon", undefined],
  ] as const) {
    t.equal(retryAfterOf(header), seconds, String(header));
  }
});

t.test("401 from a registry with tokens may mean that the account has no right", async (t) => {
  const read = (challenge: string) =>
    readStatus("main", { status: 401, headers: { "www-authenticate": challenge }, ...own }, [200], now);
  t.same(read('Bearer realm="https://a/t",error="insufficient_scope"'), { kind: "denied" });
  for (const challenge of [
    'Bearer realm="https://a/t",error="invalid_token"',
    'Bearer realm="https://a/t"',
    'Basic realm="x",error="insufficient_scope"',
  ]) {
    t.throws(() => read(challenge), { code: "auth" }, challenge);
  }
});

t.test("Content-Length is digits", async (t) => {
  const read = (value: unknown) => contentLength("main", { "content-length": value } as IncomingHttpHeaders);
  t.equal(contentLength("main", {}), undefined);
  t.equal(read("0"), 0);
  t.equal(read("123456789012345"), 123_456_789_012_345);
  for (const wrong of ["", "-1", "+1", "1.5", "1e3", "0x10", "1, 1", " 1", "9".repeat(16), ["1", "1"]]) {
    t.throws(() => read(wrong), { code: "protocol" }, JSON.stringify(wrong));
  }
});

t.test("Content-Range agrees with what was asked", async (t) => {
  const read = (value: string, to?: number) => contentRange("main", { "content-range": value }, 5, to);
  t.same(read("bytes 5-9/10"), { offset: 5, end: 10, size: 10 });
  t.same(read("bytes 5-7/10"), { offset: 5, end: 8, size: 10 }, "a shorter range is allowed");
  t.same(read("bytes 5-7/10", 8), { offset: 5, end: 8, size: 10 });
  t.throws(() => read("bytes 5-8/10", 8), { code: "range_refused" }, "beyond what was asked for");
  for (const wrong of [
    "bytes 4-9/10",
    "bytes 5-10/10",
    "bytes 5-4/10",
    "bytes 5-9/*",
    "bytes */10",
    "5-9/10",
    "",
  ]) {
    t.throws(() => read(wrong), { code: "range_refused" }, wrong);
  }
});

t.test("what a cache before this one says is taken over within bounds, the rest is left out", async (t) => {
  const marks = (headers: object) =>
    cacheMarks({ status: 200, headers: headers as IncomingHttpHeaders, ...own });
  t.same(marks({}), {});
  t.same(marks({ age: "0" }), { age: 0 });
  t.same(marks({ age: "47", "cache-status": "far; hit; ttl=13" }), {
    age: 47,
    cacheStatus: "far; hit; ttl=13",
  });
  t.same(marks({ age: "9".repeat(400) }), { age: 2 ** 31 });
  for (const age of ["", "-1", "1.5", "soon", ["1", "2"]]) t.same(marks({ age }), {}, String(age));
  t.same(marks({ "cache-status": ["far; hit", "near; fwd=miss"] }), {
    cacheStatus: "far; hit, near; fwd=miss",
  });
  t.same(marks({ "cache-status": "x".repeat(1024) }), { cacheStatus: "x".repeat(1024) });
  for (const text of ["", "x".repeat(1025), "far; detail=\u00fc", "far\tnear", "far\u007f"])
    t.same(marks({ "cache-status": text }), {}, text.slice(0, 20));
  const behind = { status: 200, headers: { age: "5", "cache-status": "cdn; hit" }, ...storage };
  t.same(cacheMarks(behind), {}, "a delivery network behind a redirect is no registry");
});
