// One finished request as points in InfluxDB's line protocol. Names of measurements, tags and fields are the
// interface of dashboards: add, never rename. What has few values is a tag, for InfluxDB keeps every combination of
// tags in memory; repositories, digests and paths are fields.
import type { Notice, RequestEvent } from "../../ports/event.ts";
import { amount, codeLabel, methodLabel, readType, resultLabel, sourceLabel } from "../metrics/label.ts";

/** Projects with a tag value of their own. */
const mostProjects = 500;

export interface InfluxPointsOptions {
  /** This node among those that write to one database. */
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

export interface InfluxPoints {
  /**
   * The lines of a request, each with its end: `registry_access` for every one, `request_origin` besides for those that were
   * no plain hit. The timestamp is that of the request's end.
   */
  ofRequest(event: RequestEvent): string[];
  /** `sync_job` for an image that a job is done with; nothing for other notices. */
  ofNotice(notice: Notice): string[];
}

export function createInfluxPoints({ node, now = Date.now }: InfluxPointsOptions): InfluxPoints {
  const timestamp = createInfluxClock(now);
  const projectOf = createProjectLabel(mostProjects);
  const nodeTag = tag("node", node);
  const ofRequest = (event: RequestEvent): string[] => {
    const served = event.status < 400 && event.abortedBy === undefined;
    const result = resultLabel(event.result);
    // In the order of their keys, as InfluxDB wants them.
    const tags =
      nodeTag +
      tag("project", projectOf(event.repository, served)) +
      `,result=${result},source=${sourceLabel(event.source)},type=${readType(event.route)}` +
      tag("upstream", event.upstream);
    const access = `registry_access,code=${codeLabel(event.status)},method=${methodLabel(event.method)}${tags} ${accessFields(event, served)} ${timestamp()}\n`;
    if (result === "hit") return [access];
    return [access, `request_origin${tags} ${originFields(event, served)} ${timestamp()}\n`];
  };
  const ofNotice = (notice: Notice): string[] => {
    if (notice.kind !== "sync_job") return [];
    const { origin, result, from } = notice;
    const tags =
      `${nodeTag},origin=${origin}` +
      tag("project", projectOf(from?.repository, result === "done")) +
      `,state=${result}` +
      tag("upstream", from?.upstream);
    return [`sync_job${tags} ${jobFields(notice)} ${timestamp()}\n`];
  };
  return { ofRequest, ofNotice };
}

function jobFields(notice: Notice & { readonly kind: "sync_job" }): string {
  const { job, image, result, from, bytes, durationMs, retries, reason } = notice;
  return (
    `success=${result === "done"}` +
    text("job", job) +
    text("image", image) +
    text("repo", from?.repository) +
    integer("bytes", bytes) +
    `,seconds=${(bounded(durationMs) / 1000).toFixed(3)}` +
    integer("retries", retries) +
    text("error", reason ?? "")
  );
}

/** Every request as the log has it. */
function accessFields(event: RequestEvent, served: boolean): string {
  return (
    sharedFields(event, served) +
    integer("expected", event.bytesExpected) +
    text("client", event.client) +
    text("user", event.user) +
    text("forwarded_for", event.forwardedFor) +
    text("user_agent", event.userAgent) +
    text("aborted_by", event.abortedBy) +
    text("trace", event.traceId)
  );
}

function originFields(event: RequestEvent, served: boolean): string {
  return `${sharedFields(event, served)}${text("method", event.method)}`;
}

function sharedFields(event: RequestEvent, served: boolean): string {
  return (
    `status=${Math.trunc(bounded(event.status))}i,success=${served}` +
    text("uri", event.path) +
    text("repo", event.repository) +
    text("ref", event.reference) +
    integer("bytes", event.bytesSent) +
    milliseconds("ttfb_ms", event.ttfbMs) +
    milliseconds("duration_ms", event.durationMs) +
    integer("upstream_status", event.upstreamStatus) +
    text("error", served ? "" : (event.detail ?? "")) +
    text("id", event.id)
  );
}

function tag(key: string, value: string | undefined): string {
  const written = value === undefined ? undefined : tagValue(value);
  return written === undefined ? "" : `,${key}=${written}`;
}

function text(key: string, value: string | undefined): string {
  return value === undefined ? "" : `,${key}=${stringField(value)}`;
}

function integer(key: string, value: number | undefined): string {
  return value === undefined ? "" : `,${key}=${Math.trunc(bounded(value))}i`;
}

/** A float in every point: a field keeps the type of its first value. */
function milliseconds(key: string, value: number | undefined): string {
  return value === undefined ? "" : `,${key}=${bounded(value).toFixed(1)}`;
}

/** Never written with an exponent, which an integer may not have. */
function bounded(value: number): number {
  return Math.min(amount(value), Number.MAX_SAFE_INTEGER);
}

/** Nanoseconds in a millisecond: so many points one millisecond has room for. */
const pointsPerMillisecond = 1_000_000;

/**
 * InfluxDB takes two points of one series with one timestamp for the same point and keeps the later one, so each point has
 * a timestamp of its own. Returns a function that gives nanoseconds since the epoch, as text: no two are
 * equal, and they never go back, not even when the clock does. `now` in milliseconds since the epoch.
 */
export function createInfluxClock(now: () => number): () => string {
  let millisecond = 0;
  let next = 0;
  return () => {
    const current = Math.trunc(now());
    if (current > millisecond) {
      millisecond = current;
      next = 0;
    } else if (next === pointsPerMillisecond) {
      millisecond++;
      next = 0;
    }
    return `${millisecond}${String(next++).padStart(6, "0")}`;
  };
}

const otherProject = "_other";

/**
 * The project of a repository is its first path segment: dashboards are made per project. Clients choose the names they
 * ask for, so only what exists gets a label, and there are only so many labels. Returns a function that gives the project
 * of `repository`: undefined without a repository, `_other` for a project that nothing was ever served from, and for every one
 * after the first `most`.
 */
export function createProjectLabel(
  most: number,
): (repository: string | undefined, served: boolean) => string | undefined {
  const known = new Set<string>();
  return (repository, served) => {
    if (repository === undefined) return undefined;
    const end = repository.indexOf("/");
    const project = end < 0 ? repository : repository.slice(0, end);
    if (known.has(project)) return project;
    if (!served || known.size >= most) return otherProject;
    known.add(project);
    return project;
  };
}

// ---- the line protocol's text (docs.influxdata.com, "Line protocol reference", InfluxDB 1.x) ----------------------

/** Longest string field, in UTF-16 units; InfluxDB takes 64 KB. */
const longestField = 1024;
/** Longest tag value: InfluxDB keeps every one of them in memory. */
const longestTag = 256;

/** C0, DEL, C1 and the Unicode line ends: a line has none, and no terminal or reader should get them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same, and what is escaped in a string
const specialInString = /["\\\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const plainTag = /^[A-Za-z0-9._:/-]{1,256}$/;

/**
 * A tag's value; undefined for one that would be empty, which the protocol does not allow: the tag is left out then.
 * A backslash becomes `_`: before a comma, or at the end, it would be read as an escape.
 */
export function tagValue(text: string): string | undefined {
  if (plainTag.test(text)) return text;
  const clean = text.slice(0, longestTag).toWellFormed().replace(control, " ").replaceAll("\\", "_");
  return clean === "" ? undefined : clean.replaceAll(/[,= ]/g, "\\$&");
}

/** A string field's value with its quotes; line ends and control characters become blanks. */
export function stringField(text: string): string {
  const cut = text.length > longestField ? text.slice(0, longestField) : text;
  if (!specialInString.test(cut) && cut.isWellFormed()) return `"${cut}"`;
  return `"${cut.toWellFormed().replace(control, " ").replaceAll(/["\\]/g, "\\$&")}"`;
}
