// One finished request as points in InfluxDB's line protocol. Names of measurements, tags and fields are the
// interface of dashboards: add, never rename. What has few values is a tag, for InfluxDB keeps every combination of
// tags in memory; repositories, digests and paths are fields.
import type { RequestEvent } from "../../ports/event.ts";
import { amount, codeLabel, methodLabel, readType, resultLabel, sourceLabel } from "../metrics/label.ts";
import { createInfluxClock } from "./influx-clock.ts";
import { stringField, tagValue } from "./influx-text.ts";
import { createProjectLabel } from "./project-label.ts";

/** Projects with a tag value of their own. */
const mostProjects = 500;

export interface InfluxPointsOptions {
  /** This node among those that write to one database. */
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * Returns a function that gives the lines of a request, each with its end: `registry_access` for every one,
 * `request_origin` besides for those that were no plain hit. The timestamp is that of the request's end.
 */
export function createInfluxPoints({
  node,
  now = Date.now,
}: InfluxPointsOptions): (event: RequestEvent) => string[] {
  const timestamp = createInfluxClock(now);
  const projectOf = createProjectLabel(mostProjects);
  const nodeTag = tag("node", node);
  return (event) => {
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
}

/** Every request as the log has it. */
function accessFields(event: RequestEvent, served: boolean): string {
  return (
    sharedFields(event, served) +
    integer("expected", event.bytesExpected) +
    text("client", event.client) +
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
