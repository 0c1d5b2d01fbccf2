import { execFile } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import type { Notice, RequestEvent } from "../../../src/ports/event.ts";
import { Secret } from "../../../src/ports/secret.ts";
import { createLogger, type LogLevel, noticeLog, requestLog } from "../../../src/telemetry/lines/json-log.ts";
import { rememberingOutput, sampleDigest, sampleEvent } from "../../fixtures/telemetry-samples.ts";

function linesOf(events: readonly RequestEvent[], level: LogLevel = "trace") {
  const output = rememberingOutput();
  const sink = requestLog(createLogger(level, output).logger);
  for (const event of events) sink(event);
  return output.lines;
}

t.test("every line says which node wrote it", (t) => {
  const output = rememberingOutput();
  const { logger } = createLogger("info", output, "node-1");
  requestLog(logger, "node-1")(sampleEvent({}));
  logger.info("listening");
  t.match(output.lines, [
    { node: "node-1", msg: "request" },
    { node: "node-1", msg: "listening" },
  ]);
  t.end();
});

t.test("one line per request, with every field by its name", (t) => {
  const [line, ...more] = linesOf([
    sampleEvent({ upstreamStatus: 200, abortedBy: "client", result: "aborted", detail: "left early" }),
  ]);
  t.strictSame(more, []);
  t.match(line?.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.strictSame(
    { ...line, time: undefined },
    {
      level: "info",
      time: undefined,
      id: "req-1",
      method: "GET",
      route: "blob",
      path: `/v2/team/app/blobs/${sampleDigest}`,
      upstream: "hub",
      repository: "team/app",
      reference: sampleDigest,
      status: 200,
      result: "aborted",
      source: "disk",
      bytes: 1000,
      expected: 1000,
      ttfb_ms: 3.3,
      duration_ms: 20.1,
      upstream_status: 200,
      aborted_by: "client",
      detail: "left early",
      client: "192.0.2.7",
      user_agent: "containerd/2.1",
      msg: "request",
    },
  );
  t.end();
});

t.test("a line of a request is put together as pino would, whatever is in it", (t) => {
  const texts = [
    "",
    "plain",
    'quo"te',
    "back\\slash",
    "tab\t",
    "\u0000",
    "\u007f",
    "\u2028",
    "é",
    "😀",
    "x".repeat(101),
  ];
  for (const text of texts) {
    const raw: string[] = [];
    const { logger } = createLogger("info", {
      write: (line) => void raw.push(line),
      flush: async () => {},
      lost: 0,
    });
    const all = {
      upstream: text,
      repository: text,
      reference: text,
      user: text,
      forwardedFor: text,
      userAgent: text,
    };
    requestLog(logger)(
      sampleEvent({ ...all, method: text, path: `/${text}`, client: text, detail: text, traceId: "ab" }),
    );
    const [line = ""] = raw;
    const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
    logger.info(fields, String(msg));
    const withoutTime = raw.map((each) => each.replace(/"time":"[^"]*"/, ""));
    t.equal(withoutTime[0], withoutTime[1], encodeURIComponent(text));
  }
  t.end();
});

t.test("what is unknown is left out", (t) => {
  const [line] = linesOf([sampleEvent({ ttfbMs: undefined, userAgent: undefined, upstream: undefined })]);
  for (const field of ["ttfb_ms", "user_agent", "upstream", "upstream_status", "aborted_by", "detail", "pid"])
    t.notOk(field in (line ?? {}), field);
  t.end();
});

t.test("the level tells whose fault it was", (t) => {
  const cases: readonly [Partial<RequestEvent>, string][] = [
    [{ status: 200 }, "info"],
    [{ status: 307 }, "info"],
    [{ status: 401, result: "denied" }, "info"],
    [{ status: 404, result: "negative" }, "info"],
    [{ status: 400, result: "error" }, "warn"],
    [{ status: 403, result: "denied" }, "warn"],
    [{ status: 429, result: "error" }, "warn"],
    [{ status: 500, result: "error" }, "error"],
    [{ status: 504, result: "error" }, "error"],
    [{ status: 200, result: "aborted", abortedBy: "client" }, "info"],
    [{ status: 0, result: "aborted" }, "info"],
    [{ status: 502, result: "aborted", abortedBy: "client" }, "info"],
    [{ status: 200, result: "error", abortedBy: "upstream" }, "error"],
    [{ status: 200, result: "aborted", abortedBy: "node" }, "error"],
  ];
  const lines = linesOf(cases.map(([changes]) => sampleEvent(changes)));
  t.strictSame(
    lines.map(({ level }) => level),
    cases.map(([, level]) => level),
  );
  t.equal(
    linesOf(
      cases.map(([changes]) => sampleEvent(changes)),
      "warn",
    ).length,
    7,
  );
  t.equal(linesOf([sampleEvent({ status: 500 })], "silent").length, 0);
  t.end();
});

t.test("the log follows its logger's level while it runs", (t) => {
  const output = rememberingOutput();
  const { logger } = createLogger("warn", output);
  const sink = requestLog(logger);
  sink(sampleEvent());
  t.equal(output.lines.length, 0);
  logger.level = "info";
  sink(sampleEvent());
  t.equal(output.lines.length, 1);
  logger.level = "silent";
  sink(sampleEvent({ status: 500 }));
  t.equal(output.lines.length, 1);
  t.end();
});

t.test("what a client sends can neither break a line nor fill the disk nor show a secret", (t) => {
  const long = "x".repeat(100_000);
  const output = rememberingOutput();
  const raw: string[] = [];
  const sink = requestLog(createLogger("info", { ...output, write: (line) => void raw.push(line) }).logger);
  sink(
    sampleEvent({
      method: long,
      path: `http://user:s3cret@internal.example.com/v2/\n{"level":"error"}${long}`,
      repository: long,
      reference: long,
      userAgent: `curl\r\n${long}`,
      client: long,
      detail: `refused Basic czNjcmV0 ${long}`,
    }),
  );
  t.equal(raw.length, 1);
  t.ok((raw[0] as string).length < 4096, `${raw[0]?.length} characters`);
  t.equal(raw[0]?.indexOf("\n"), (raw[0]?.length ?? 0) - 1, "the only line end is the last character");
  t.notMatch(raw[0], /s3cret|czNjcmV0/);
  t.match(JSON.parse(raw[0] as string), { path: /^http:\/\/\[redacted\]@internal/, user_agent: /^curl\r\n/ });
  t.end();
});

t.test("secrets in fields, errors and causes are not printed", (t) => {
  const output = rememberingOutput();
  const { logger } = createLogger("info", output);
  const cause = new Error("at https://user:s3cret@registry.example.com/v2/");
  const error = Object.assign(new Error("401 for https://s3.example.com/x?sig=s3cret", { cause }), {
    code: "UND_ERR",
    headers: { "www-authenticate": "s3cret" },
    body: "s3cret",
  });
  logger.error(
    {
      authorization: "Basic s3cret",
      token: "s3cret",
      headers: { authorization: "s3cret", cookie: "s3cret" },
      request: { headers: { "proxy-authorization": "s3cret" } },
      config: { password: "s3cret", key: new Secret("s3cret") },
      err: error,
    },
    "failed",
  );
  logger.error({ err: "Bearer s3cret" }, "failed");
  t.notMatch(JSON.stringify(output.lines), /s3cret/);
  t.match(output.lines[0], {
    err: {
      type: "Error",
      code: "UND_ERR",
      message: /^401 for https:\/\/s3/,
      cause: /registry/,
      stack: /json-log/,
    },
  });
  t.end();
});

function logNotices() {
  const output = rememberingOutput();
  let now = 0;
  const sink = noticeLog(createLogger("trace", output).logger, () => now);
  return {
    sink,
    advance(milliseconds: number) {
      now += milliseconds;
    },
    take: () => output.lines.splice(0).map(({ time, ...line }) => line),
  };
}

const upstreamError: Notice & { kind: "upstream_error" } = {
  kind: "upstream_error",
  upstream: "hub",
  code: "timeout",
  status: undefined,
  message: "no answer from https://user:s3cret@registry.example.com in 30 s",
};

t.test("upstream errors warn once per 10 s and code, and count the rest", (t) => {
  const { sink, advance, take } = logNotices();
  for (let i = 0; i < 500; i++) sink(upstreamError);
  sink({ ...upstreamError, code: "server_error", status: 503 });
  sink({ ...upstreamError, upstream: "quay" });
  const detail = "no answer from https://[redacted]@registry.example.com in 30 s";
  const msg = "upstream failed";
  t.strictSame(take(), [
    { level: "warn", upstream: "hub", code: "timeout", detail, msg },
    { level: "warn", upstream: "hub", code: "server_error", status: 503, detail, msg },
    { level: "warn", upstream: "quay", code: "timeout", detail, msg },
  ]);
  advance(9_999);
  sink(upstreamError);
  t.strictSame(take(), []);
  advance(1);
  sink(upstreamError);
  t.strictSame(take(), [{ level: "warn", upstream: "hub", code: "timeout", detail, suppressed: 500, msg }]);
  t.end();
});

t.test("refused credentials are an alarm of their own", (t) => {
  const { sink, take } = logNotices();
  sink({ ...upstreamError, code: "auth", status: 401 });
  t.match(take(), [{ level: "error", code: "auth", msg: "upstream hub refuses this mirror's credentials" }]);
  t.end();
});

t.test("stale answers warn once per 10 s and reason, whatever the tag", (t) => {
  const { sink, advance, take } = logNotices();
  const stale = { kind: "stale_served", upstream: "hub", repository: "team/app", ageMs: 61_000 } as const;
  for (let i = 0; i < 100; i++) sink({ ...stale, tag: `v${i}`, reason: "timeout" });
  sink({ ...stale, tag: "v1", reason: "auth" });
  t.match(take(), [
    { level: "warn", upstream: "hub", repository: "team/app", tag: "v0", age_ms: 61_000, detail: "timeout" },
    { level: "warn", tag: "v1", detail: "auth" },
  ]);
  advance(10_000);
  sink({ ...stale, tag: "v7", reason: "timeout" });
  t.match(take(), [{ tag: "v7", suppressed: 99 }]);
  t.end();
});

t.test("an outage makes one line at its beginning and one at its end", (t) => {
  const { sink, take } = logNotices();
  const circuit = { kind: "circuit", upstream: "hub" } as const;
  sink({ ...circuit, previous: "closed", state: "open" });
  sink({ ...circuit, previous: "open", state: "half_open" });
  sink({ ...circuit, previous: "half_open", state: "open" });
  sink({ ...circuit, previous: "open", state: "half_open" });
  sink({ ...circuit, previous: "half_open", state: "closed" });
  t.match(
    take().filter(({ level }) => level !== "debug"),
    [
      { level: "warn", upstream: "hub", state: "open" },
      { level: "info", upstream: "hub", state: "closed", msg: "upstream answers again" },
    ],
  );
  t.end();
});

t.test("what is shared: one line when it cannot be used, one when it can", (t) => {
  const { sink, take } = logNotices();
  const redis = { kind: "shared_store", store: "redis" } as const;
  sink({ ...redis, usable: false, message: "connect ECONNREFUSED 10.0.0.1:6379" });
  sink({ ...redis, usable: true, message: "" });
  t.match(take(), [
    { level: "warn", store: "redis", detail: /ECONNREFUSED/, msg: /goes on alone/ },
    { level: "info", store: "redis", msg: /^redis answers/ },
  ]);
  t.end();
});

t.test("the directory of users: that it answers again; why it does not is told elsewhere", (t) => {
  const { sink, take } = logNotices();
  sink({ kind: "login_directory", usable: false });
  sink({ kind: "login_directory", usable: true });
  t.match(take(), [{ level: "info", msg: "a server of access.ldap answers" }]);
  t.end();
});

t.test("other notices have the level of their weight", (t) => {
  const { sink, take } = logNotices();
  const fill = { kind: "fill", upstream: "hub", digest: sampleDigest, bytes: 5, durationMs: 1.23 } as const;
  const eviction = { kind: "eviction", digest: sampleDigest, bytes: 5, ageMs: 9, orphaned: 1 } as const;
  sink({ ...fill, result: "committed" });
  sink({ ...fill, result: "not_stored" });
  sink({ ...fill, result: "discarded" });
  sink({ ...eviction, reason: "lru" });
  sink({ ...eviction, reason: "corrupt" });
  sink({ kind: "store_error", op: "commit", code: "no_space", message: "ENOSPC" });
  sink({ kind: "store_error", op: "commit", code: "no_space", message: "ENOSPC" });
  sink({ kind: "secret_problem", upstream: "hub", message: "/p is empty" });
  sink({ kind: "upstream_moved", upstream: "hub", message: "set url to https://hub/" });
  sink({ kind: "upstream_request", upstream: "hub", type: "blob", method: "GET", status: 200, ttfbMs: 1 });
  sink({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 1 });
  sink({ kind: "rate_limit", upstream: "hub", remaining: 0 });
  sink({ kind: "tag_refresh", upstream: "hub", when: "ahead", result: "confirmed" });
  sink({ kind: "prefetch", upstream: "hub", result: "used", digest: sampleDigest, bytes: 1 });
  sink({ kind: "segments", upstream: "hub", width: 8 });
  const answer = { id: "r1", client: "10.0.0.7", repository: "team/app", userAgent: "stargz/1" };
  sink({ kind: "wrong_range", upstream: "hub", digest: sampleDigest, answers: 1, answer });
  sink({ kind: "wrong_range", upstream: "hub", digest: sampleDigest, answers: 12 });
  t.match(take(), [
    {
      level: "debug",
      result: "committed",
      digest: sampleDigest,
      bytes: 5,
      duration_ms: 1.2,
      upstream: "hub",
    },
    { level: "warn", result: "not_stored" },
    { level: "error", result: "discarded" },
    { level: "debug", reason: "lru", digest: sampleDigest, orphaned: 1, age_ms: 9 },
    { level: "error", reason: "corrupt" },
    { level: "error", op: "commit", code: "no_space", detail: "ENOSPC" },
    { level: "warn", upstream: "hub", detail: "/p is empty", msg: /credentials/ },
    { level: "warn", upstream: "hub", detail: "set url to https://hub/", msg: /better url/ },
    { level: "info", upstream: "hub", width: 8, msg: /transfers at once/ },
    {
      level: "error",
      id: "r1",
      client: "10.0.0.7",
      repository: "team/app",
      user_agent: "stargz/1",
      answers: 1,
    },
    {
      level: "error",
      upstream: "hub",
      digest: sampleDigest,
      answers: 12,
      msg: /before its digest was known/,
    },
  ]);
  t.strictSame(take(), [], "traffic is for the metrics, and a broken store makes one line per window");
  t.end();
});

t.test("lost lines are confessed at the end", async (t) => {
  const output = rememberingOutput();
  const { flush } = createLogger("info", { ...output, lost: 12 });
  await flush();
  t.match(output.lines, [{ level: "warn", lost: 12 }]);
});

t.test("lines go to standard output, and flush comes before the exit", async (t) => {
  const module = pathToFileURL(join(import.meta.dirname, "../../../src/telemetry/lines/json-log.ts")).href;
  const script = `
    import { createLogger } from ${JSON.stringify(module)};
    const { logger, flush } = createLogger("info");
    for (let i = 0; i < 5000; i++) logger.info({ i }, "line");
    await flush();
    process.exit(3);`;
  const child = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  const { code, stdout } = await child.then(
    () => t.fail("exits with 3") as never,
    (error: { code: number; stdout: string }) => error,
  );
  const lines = stdout.trimEnd().split("\n");
  t.equal(code, 3);
  t.strictSame(
    lines.map((line) => (JSON.parse(line) as { i: number }).i),
    Array.from({ length: 5000 }, (_, i) => i),
  );
});

t.test("no control character and no line end of any kind stands in a line as it is", (t) => {
  const written: string[] = [];
  const { logger } = createLogger("debug", {
    write: (line) => void written.push(line),
    flush: async () => {},
    lost: 0,
  });
  const units = [...Array(0x20).keys(), ...Array.from({ length: 0x21 }, (_, i) => 0x7f + i), 0x2028, 0x2029];
  const text = String.fromCharCode(...units);
  requestLog(logger)(sampleEvent({ userAgent: text, forwardedFor: text, path: `/${text}`, detail: text }));
  noticeLog(logger)({ kind: "upstream_error", upstream: "far", code: "auth", status: 401, message: text });
  logger.error({ err: new Error(text) }, text);
  t.equal(written.length, 3);
  for (const line of written) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    t.notMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  }
  t.equal(
    (JSON.parse(written[0] as string) as { user_agent: string }).user_agent,
    text,
    "and reads the same",
  );
  t.end();
});
