// The JSON log: one line per request at its end, and lines for other things operators must know about.
// Names of fields are the interface of log pipelines: add, never rename.
import { type Logger, pino, symbols } from "pino";
import type { EventSink, Notice, NoticeSink, RequestEvent } from "../../ports/event.ts";
import { scrub } from "../scrub.ts";
import { type LogOutput, openLogOutput } from "./log-output.ts";
import { createRepeatGate } from "./repeat-gate.ts";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "silent";

/** Longest free text in a line, in UTF-16 units: paths 1024 (as in the event), everything else 512. */
const maxPath = 1024;
const maxText = 512;
/** Milliseconds in which equal warnings make one line. */
const repeatWindow = 10_000;
/** Nothing logs these; should something ever do, the value is not printed. */
const secretFields = ["authorization", "proxy-authorization", "cookie", "password", "token"];

/**
 * Creates the root logger. Time is ISO 8601 in UTC, level a word. Lines go to standard output unless `output` is
 * given; await `flush` before the process exits. `node`: the name of this node, in every line.
 */
export function createLogger(
  level: LogLevel,
  output: LogOutput = openLogOutput(1),
  node?: string,
): { readonly logger: Logger; flush(): Promise<void> } {
  const logger = pino(
    {
      level,
      base: node === undefined ? null : { node },
      timestamp: isoTime(),
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      hooks: { streamWrite: escapeControls },
      redact: secretFields.flatMap((field) => [`["${field}"]`, `*["${field}"]`, `*.headers["${field}"]`]),
    },
    output,
  );
  return {
    logger,
    async flush() {
      await output.flush();
      if (output.lost === 0) return;
      logger.warn({ lost: output.lost }, "log lines were lost");
      await output.flush();
    },
  };
}

/** C1 is commands to a terminal, U+2028 and U+2029 end lines for some readers: JSON lets all of them stand as they are. */
const control = /[\u007f-\u009f\u2028\u2029]/g;

function escapeControls(line: string): string {
  return line.replace(control, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** As pino's own, but made once a millisecond: under load many lines have the same. `rest`: what follows in each line. */
function isoTime(rest = ""): () => string {
  let last = Number.NaN;
  let text = "";
  return () => {
    const now = Date.now();
    if (now !== last) {
      last = now;
      text = `,"time":"${new Date(now).toISOString()}"${rest}`;
    }
    return text;
  };
}

/** An error's own enumerable properties may hold headers and bodies (undici's do): only these are printed. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return scrub(String(error), maxText);
  const code = "code" in error ? String(error.code) : undefined;
  const cause = error.cause === undefined ? undefined : scrub(String(error.cause), maxText);
  const stack = error.stack === undefined ? undefined : scrub(error.stack, 4 * maxText);
  return { type: error.name, code, message: scrub(error.message, maxText), cause, stack };
}

/**
 * How severe a finished request is. 401 and 404 are everyday answers (token dance, absent referrers), and a client that
 * leaves is no fault of this node. Probes come every few seconds. A body cut by upstream or by this node is a failure
 * whatever the status line said.
 */
export function requestLevel({
  status,
  result,
  abortedBy,
  probe,
}: RequestEvent): "debug" | "info" | "warn" | "error" {
  if (probe !== undefined) return "debug";
  if (abortedBy === "upstream" || abortedBy === "node") return "error";
  if (abortedBy === "client" || result === "aborted") return "info";
  if (status >= 500) return "error";
  return status >= 400 && status !== 401 && status !== 404 ? "warn" : "info";
}

/**
 * One line per request. `time` is that of the line: the request's end. The fields are always the same, so the line is put
 * together here and given to where the logger's lines go: pino, which asks of every field what it is, takes three times as
 * long. Nothing in it is secret. The logger says which levels are wanted. `node` is in each line, as the logger has it in its own.
 */
export function requestLog(logger: Logger, node?: string): EventSink {
  const { [symbols.streamSym]: output } = logger as unknown as Record<symbol, Pick<LogOutput, "write">>;
  const start = isoTime(textField("node", node, maxText));
  return (event) => {
    const level = requestLevel(event);
    if (logger.isLevelEnabled(level)) output?.write(requestLine(event, level, start()));
  };
}

/** `start`: the first fields after the level, each behind a comma. */
function requestLine(event: RequestEvent, level: string, start: string): string {
  const { path, traceId, bytesExpected, upstreamStatus, detail } = event;
  const logged = path.includes("://") ? scrub(path, maxPath) : path;
  return (
    `{"level":"${level}"${start},"id":"${event.id}"${traceId === undefined ? "" : `,"trace":"${traceId}"`}` +
    `,"method":${quoted(event.method, 32)},"route":"${event.route}","path":${quoted(logged, maxPath)}` +
    textField("upstream", event.upstream, maxText) +
    textField("repository", event.repository, maxText) +
    textField("reference", event.reference, maxText) +
    `,"status":${event.status},"result":"${event.result}","source":${quoted(event.source, maxText)},"bytes":${event.bytesSent}` +
    numberField("expected", bytesExpected) +
    numberField("ttfb_ms", tenths(event.ttfbMs)) +
    numberField("duration_ms", tenths(event.durationMs)) +
    numberField("upstream_status", upstreamStatus) +
    textField("aborted_by", event.abortedBy, maxText) +
    textField("detail", detail === undefined ? undefined : scrub(detail, maxText), maxText) +
    `,"client":${quoted(event.client, 64)}` +
    textField("user", event.user, maxText) +
    (event.drill === true ? ',"drill":true' : "") +
    textField("forwarded_for", event.forwardedFor, maxText) +
    textField("user_agent", event.userAgent, maxText) +
    ',"msg":"request"}\n'
  );
}

function textField(name: string, text: string | undefined, maxLength: number): string {
  return text === undefined ? "" : `,"${name}":${quoted(text, maxLength)}`;
}

function numberField(name: string, value: number | undefined): string {
  return value === undefined ? "" : `,"${name}":${value}`;
}

/** Text that stands in JSON as it is. */
const plain = /^[ !#-[\]-~]*$/;

function quoted(text: string, maxLength: number): string {
  const short = cut(text, maxLength);
  return plain.test(short) ? `"${short}"` : escapeControls(JSON.stringify(short));
}

/** Lines for notices; upstream errors, stale answers and store errors of one kind make one line per 10 s. */
export function noticeLog(logger: Logger, now: () => number = () => performance.now()): NoticeSink {
  const mayPass = createRepeatGate(repeatWindow, now);
  return (notice) => {
    switch (notice.kind) {
      case "upstream_request":
      case "upstream_bytes":
      case "sibling_bytes":
      case "rate_limit":
        return;
      case "sibling":
        if (notice.message === undefined) return;
        return limited(mayPass, `${notice.kind} ${notice.sibling} ${notice.result}`, (suppressed) =>
          logSibling(logger, notice, suppressed),
        );
      case "secret_problem": {
        const { upstream, message } = notice;
        return logger.warn({ upstream, detail: scrub(message, maxText) }, "credentials cannot be read again");
      }
      case "upstream_moved": {
        const { upstream, message } = notice;
        return logger.warn({ upstream, detail: scrub(message, maxText) }, "the upstream has a better url");
      }
      case "circuit":
        return logCircuit(logger, notice);
      case "upstream_check":
        return logUpstreamCheck(logger, notice);
      case "upstream_error":
        return limited(mayPass, `${notice.kind} ${notice.upstream} ${notice.code}`, (suppressed) =>
          logUpstreamError(logger, notice, suppressed),
        );
      case "stale_served":
        return limited(mayPass, `${notice.kind} ${notice.upstream} ${notice.reason}`, (suppressed) =>
          logStaleServed(logger, notice, suppressed),
        );
      case "tag_moved": {
        const { kind: _, ...fields } = notice;
        return logger.info({ event: "tag.moved", ...fields }, "a tag names another digest than before");
      }
      case "store_error":
        return limited(mayPass, `${notice.kind} ${notice.op} ${notice.code}`, (suppressed) => {
          const { op, code, message } = notice;
          logger.error({ op, code, detail: scrub(message, maxText), suppressed }, "the store failed");
        });
      case "index_lost":
        return logIndexLost(logger, notice);
      case "bit_rot":
        return logBitRot(logger, notice);
      case "wrong_range":
        return logWrongRange(logger, notice);
      case "bit_rot_alarm":
        if (notice.raised)
          logger.error(
            "so much of what is stored reads wrong in a row that the disk or the memory must be at fault: nothing more is taken out of the store",
          );
        else logger.info("what is stored reads right again");
        return;
      case "blob_check":
        return logger.debug(
          { found_by: notice.by, result: notice.result, digest: notice.digest },
          "hashed a stored blob",
        );
      case "scrubbed": {
        const { blobs, bytes, wrong, durationMs } = notice;
        return limited(mayPass, notice.kind, (suppressed) =>
          logger.info(
            { blobs, bytes, wrong, duration_ms: tenths(durationMs), suppressed },
            "hashed all that was due of what is stored",
          ),
        );
      }
      case "store":
        return notice.usable
          ? logger.info("the cache directory can be used again")
          : logger.error(
              { detail: scrub(notice.message, maxText) },
              "the cache directory cannot be used: everything comes from upstream",
            );
      case "shared_store":
        return logSharedStore(logger, notice);
      case "shared_eviction": {
        const { kind, ...fields } = notice;
        return notice.deleted > 0 ? logger.info(fields, "made room in the shared store") : undefined;
      }
      case "eviction":
        return logEviction(logger, notice);
      case "fill":
        return logFill(logger, notice);
      case "segments": {
        const { upstream, width } = notice;
        return logger.info({ upstream, width }, "large blobs come in another number of transfers at once");
      }
      case "block": {
        const { action, digest, reason, origin, node } = notice;
        return logger.warn(
          { digest, reason, origin, node },
          action === "blocked" ? "a digest is blocked" : "a digest is blocked no more",
        );
      }
      // What is in the way is told for each server, by who has asked it.
      case "login_directory":
        return notice.usable ? logger.info("a server of access.ldap answers") : undefined;
      // Each request has its line; a metric counts those that were held back.
      case "caller_limit":
      case "block_refusal":
      // There are many, and nothing follows from one: a metric counts them.
      case "tag_refresh":
      case "prefetch":
        return;
      case "notification":
        if (notice.result === "delivered") return;
        return limited(mayPass, `${notice.kind} ${notice.endpoint} ${notice.result}`, (suppressed) =>
          logNotification(logger, notice, suppressed),
        );
      case "webhook":
        return limited(mayPass, `${notice.kind} ${notice.source} ${notice.result}`, (suppressed) =>
          logWebhook(logger, notice, suppressed),
        );
      case "sync_job":
        return logSyncJob(logger, notice);
      // That of a webhook has one image, which has its line; those of pins come every hour.
      case "job":
        return notice.origin === "webhook" || notice.origin === "pin" ? undefined : logJob(logger, notice);
      default:
        notice satisfies never;
    }
  };
}

function logSibling(
  logger: Logger,
  { sibling, result, message = "" }: Notice & { kind: "sibling" },
  suppressed: number | undefined,
): void {
  const fields = { sibling, result, detail: scrub(message, maxText), suppressed };
  if (result === "wrong") logger.error(fields, "a sibling sent wrong bytes: it is not asked for a while");
  else logger.warn(fields, "a sibling is no help: what is missing comes from upstream");
}

/** `suppressed` is left out of a line that stands for itself alone. */
function limited(
  mayPass: (key: string) => number | undefined,
  key: string,
  log: (suppressed: number | undefined) => void,
): void {
  const heldBack = mayPass(key);
  if (heldBack !== undefined) log(heldBack === 0 ? undefined : heldBack);
}

function logUpstreamError(
  logger: Logger,
  { upstream, code, status, message }: Notice & { kind: "upstream_error" },
  suppressed: number | undefined,
): void {
  const fields = { upstream, code, status, detail: scrub(message, maxText), suppressed };
  if (code === "auth") logger.error(fields, `upstream ${upstream} refuses this mirror's credentials`);
  else if (code === "loop")
    logger.error(fields, `upstream ${upstream} leads back here: mirrors form a circle`);
  else logger.warn(fields, "upstream failed");
}

/** One line when something is wrong, or something else than before, and one when that is over. */
function logUpstreamCheck(
  logger: Logger,
  { upstream, trouble, changed }: Notice & { kind: "upstream_check" },
): void {
  if (!changed) return;
  if (trouble === undefined) logger.info({ upstream }, "upstream is there as configured");
  else
    logger.warn(
      { upstream, code: trouble.code, detail: scrub(trouble.message, maxText) },
      "upstream is not there as configured",
    );
}

/** One line when an upstream is given up and one when it is back; the probes between are for debugging. */
function logCircuit(logger: Logger, { upstream, state, previous }: Notice & { kind: "circuit" }): void {
  const fields = { upstream, state };
  if (state === "closed") logger.info(fields, "upstream answers again");
  else if (previous === "closed") logger.warn(fields, "upstream does not answer and is not asked for now");
  else logger.debug(fields, "probing upstream");
}

function logIndexLost(logger: Logger, { reason, copiedAt }: Notice & { kind: "index_lost" }): void {
  const detail = scrub(reason, maxText);
  if (copiedAt === undefined)
    logger.error(
      { detail },
      "the index could not be read and there is no copy: its tags are unknown until upstream is asked",
    );
  else
    logger.error(
      { detail, copied_at: new Date(copiedAt).toISOString() },
      "the index could not be read: this node goes on with its last copy",
    );
}

function logSharedStore(logger: Logger, { store, usable, message }: Notice & { kind: "shared_store" }): void {
  if (usable) logger.info({ store }, `${store} answers: shared with the other nodes`);
  else
    logger.warn(
      { store, detail: scrub(message, maxText) },
      `${store} does not answer: this node goes on alone`,
    );
}

function logBitRot(logger: Logger, { by, digest, bytes, quarantined }: Notice & { kind: "bit_rot" }): void {
  const fields = { found_by: by, digest, bytes, quarantined };
  logger.error(fields, "what is stored under this digest is something else");
}

function logWrongRange(logger: Logger, notice: Notice & { kind: "wrong_range" }): void {
  const { upstream, digest, answers, answer } = notice;
  const to = answer && {
    id: answer.id,
    client: answer.client,
    repository: answer.repository,
    user_agent: answer.userAgent && scrub(answer.userAgent, maxText),
  };
  logger.error(
    { upstream, digest, answers, ...to },
    "answered with a part of a blob before its digest was known, and the digest is wrong",
  );
}

function logStaleServed(
  logger: Logger,
  { upstream, repository, tag, ageMs, reason }: Notice & { kind: "stale_served" },
  suppressed: number | undefined,
): void {
  logger.warn(
    { upstream, repository, tag, age_ms: tenths(ageMs), detail: scrub(reason, maxText), suppressed },
    "served a stale tag because upstream failed",
  );
}

function logSyncJob(logger: Logger, notice: Notice & { kind: "sync_job" }): void {
  const { job, origin, image, result, from, bytes, durationMs, retries, reason } = notice;
  const detail = reason === undefined ? undefined : scrub(reason, maxText);
  const asked = { job, origin, image: scrub(image, maxText), result, ...from };
  const fields = { ...asked, bytes, duration_ms: tenths(durationMs), retries, detail };
  if (result === "failed") logger.warn(fields, "an image could not be fetched ahead");
  else if (origin === "pin" && bytes === 0 && result === "done")
    logger.debug(fields, "a pinned image was confirmed");
  else
    logger.info(fields, result === "done" ? "fetched an image ahead" : "fetching an image ahead was ended");
}

function logJob(logger: Logger, notice: Notice & { kind: "job" }): void {
  const { job, origin, result, images, imagesFailed: failed, imagesLeftOut } = notice;
  const fields = { job, origin, result, images, failed, left_out: imagesLeftOut };
  if (result === "failed") logger.warn(fields, "a job is over, and not all of it is here");
  else logger.info(fields, result === "done" ? "a job is over, and all of it is here" : "a job was ended");
}

function logEviction(logger: Logger, notice: Notice & { kind: "eviction" }): void {
  const { reason, digest, bytes, ageMs, orphaned } = notice;
  const fields = { reason, digest, bytes, age_ms: tenths(ageMs), orphaned };
  if (reason === "corrupt") logger.error(fields, "removed a corrupt blob from the store");
  else logger.debug(fields, "evicted");
}

function logFill(logger: Logger, notice: Notice & { kind: "fill" }): void {
  const { result, upstream, digest, bytes, durationMs } = notice;
  const fields = { result, upstream, digest, bytes, duration_ms: tenths(durationMs) };
  if (result === "committed") logger.debug(fields, "fill committed");
  else if (result === "resumable") logger.debug(fields, "kept what has come of a blob nobody waits for");
  else if (result === "not_stored") logger.warn(fields, "served a blob that could not be stored");
  else logger.error(fields, "discarded a fill: upstream sent wrong or incomplete bytes");
}

function logNotification(
  logger: Logger,
  { endpoint, result, events, message }: Notice & { kind: "notification" },
  suppressed: number | undefined,
): void {
  const detail = message === undefined ? undefined : scrub(message, maxText);
  const fields = { endpoint, events, detail, suppressed };
  if (result === "dropped") logger.error(fields, "notifications were dropped");
  else logger.warn(fields, "notifications could not be delivered and stay queued");
}

function logWebhook(
  logger: Logger,
  { source, result }: Notice & { kind: "webhook" },
  suppressed: number | undefined,
): void {
  const fields = { source, result, suppressed };
  if (result === "refused") logger.warn(fields, "a webhook came without the right secret");
  else if (result === "unknown" || result === "failed") logger.warn(fields, "a webhook was of no use");
  else logger.debug(fields, "webhook");
}

function cut<T extends string | undefined>(text: T, maxLength: number): T {
  return text !== undefined && text.length > maxLength ? (text.slice(0, maxLength) as T) : text;
}

function tenths(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 10) / 10;
}
