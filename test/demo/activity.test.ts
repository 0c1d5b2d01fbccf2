import t from "tap";
import { createActivityLog } from "../../src/demo/activity.ts";
import type { RequestEvent } from "../../src/ports/event.ts";
import { noticeLog, requestLog } from "../../src/telemetry/lines/json-log.ts";

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;
const event: RequestEvent = {
  time: new Date(),
  id: "1",
  traceId: undefined,
  method: "GET",
  route: "blob",
  path: `/v2/team/app/blobs/${digest}`,
  upstream: "artifactory",
  repository: "team/app",
  reference: digest,
  status: 200,
  result: "miss",
  source: "upstream:artifactory",
  bytesSent: 12_000_000,
  bytesExpected: 12_000_000,
  ttfbMs: 40,
  durationMs: 1234,
  upstreamStatus: 200,
  abortedBy: undefined,
  detail: undefined,
  client: "127.0.0.1",
  forwardedFor: undefined,
  userAgent: undefined,
};

t.test("requests are shown from level info on, in words people know from docker", async (t) => {
  const lines: string[] = [];
  const log = createActivityLog((line) => lines.push(line));
  const show = requestLog(log);
  show(event);
  t.same(lines, [], "nothing while the demo itself pulls");
  log.level = "info";
  const later = requestLog(log);
  later(event);
  later({ ...event, method: "HEAD", route: "manifest_tag", reference: "1.0", bytesSent: 0, durationMs: 2 });
  later({ ...event, route: "ping", path: "/v2/", repository: undefined, reference: undefined, bytesSent: 2 });
  t.match(lines, [
    /^ {2}GET +team\/app@0123456789ab +200 +miss +12\.0 MB +1\.23 s$/,
    /^ {2}HEAD +team\/app:1\.0 +200 +miss +0 B +2 ms$/,
    /^ {2}GET +\/v2\/ +200 /,
  ]);
});

t.test("a logger that the mirror made its own before is switched too", async (t) => {
  const lines: string[] = [];
  const log = createActivityLog((line) => lines.push(line));
  const show = requestLog(log);
  log.level = "info";
  show(event);
  t.equal(lines.length, 1);
});

t.test("trouble shows at once, with its reason", async (t) => {
  const lines: string[] = [];
  const log = createActivityLog((line) => lines.push(line));
  noticeLog(log)({ kind: "store_error", op: "append", code: "no_space", message: "the disk is full" });
  t.match(lines, [/^ {2}error: the store failed \(the disk is full\)$/]);
});
