// The stats page, its files, its document and its stream, as answers of the ops listener.
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { isMonth, monthExpected, savingsCsv } from "../../telemetry/savings/report.ts";
import type { DatacenterSavings } from "../../telemetry/savings/savings-document.ts";
import type { JobSummary } from "../jobs/job-report.ts";
import { type Asset, loadAssets } from "../page/assets.ts";
import { jobsPageHtml } from "../page/jobs-page.ts";
import { contentSecurityPolicy, pageHtml } from "../page/page.ts";
import { EventStreams, type EventStreamsOptions } from "./event-streams.ts";
import { longestReference } from "./image-reference.ts";
import type { Explanation, StatsDocument } from "./stats-document.ts";

export interface StatsPagesOptions {
  readonly document: () => StatsDocument;
  /** What is known here of an image. Never rejects for a reference it cannot read. */
  readonly explain: (reference: string) => Promise<Explanation>;
  /** See ApiOptions. */
  readonly savings: (month?: string) => Promise<DatacenterSavings>;
  /** The newest first; left out: there are none. */
  readonly jobs?: (() => readonly JobSummary[]) | undefined;
  readonly every?: EventStreamsOptions["every"];
}

export interface StatsPages {
  /** Paths this answers; the page's files are below `/page/`. */
  readonly paths: readonly string[];
  has(path: string): boolean;
  /** Answers GET and HEAD for one of its paths. `basePath`: see pageHtml. */
  answer(path: string, request: IncomingMessage, response: ServerResponse, basePath: string): Promise<void>;
  /** Ends the streams of events. Idempotent. */
  end(): void;
}

type Answer = (request: IncomingMessage, response: ServerResponse, basePath: string) => unknown;

/** Seconds a browser uses a file without asking; after that its tag is compared. */
const assetAge = 300;

/** Reads the page's files from disk; throws the system's error when the installation is not whole. */
export function createStatsPages(options: StatsPagesOptions): StatsPages {
  const { document, explain, savings, jobs = () => [], every } = options;
  const assets = loadAssets();
  const json = () => JSON.stringify(document());
  const streams = new EventStreams({ snapshot: json, ...(every === undefined ? {} : { every }) });
  const explanationOf = async (query: URLSearchParams, name: string) =>
    await explain((query.get(name) ?? "").trim().slice(0, longestReference));
  const answers: Readonly<Record<string, Answer>> = {
    async "/"(request, response, basePath) {
      const query = queryOf(request);
      const reference = (query.get("explain") ?? "").trim();
      const explanation = reference === "" ? undefined : await explanationOf(query, "explain");
      const asked = { reference: reference.slice(0, longestReference), explanation };
      const html = pageHtml(document(), assets.page, { ...asked, basePath });
      sendPage(request, response, html);
    },
    "/jobs": (request, response, basePath) =>
      sendPage(request, response, jobsPageHtml(jobs(), document().at, assets.page, basePath)),
    "/stats.json": (request, response) => send(request, response, "application/json", `${json()}\n`),
    async "/explain.json"(request, response) {
      const explanation = await explanationOf(queryOf(request), "reference");
      send(request, response, "application/json", `${JSON.stringify(explanation)}\n`);
    },
    async "/savings.csv"(request, response) {
      const month = queryOf(request).get("month") ?? undefined;
      if (month !== undefined && !isMonth(month))
        return send(request, response, "text/plain; charset=utf-8", `${monthExpected}\n`, {}, 400);
      const found = await savings(month);
      const { silentNodes } = found;
      const warning = `199 - "without what ${silentNodes.length} nodes that did not answer have saved"`;
      send(request, response, "text/csv; charset=utf-8", savingsCsv(found), {
        ...(silentNodes.length > 0 ? { warning } : {}),
      });
    },
    "/stats/events": (request, response) => {
      if (request.method === "HEAD") send(request, response, "text/event-stream", "");
      else streams.add(response);
    },
  };
  return {
    paths: Object.keys(answers),
    has: (path) => Object.hasOwn(answers, path) || assets.files.has(path),
    async answer(path, request, response, basePath) {
      const file = assets.files.get(path);
      if (file === undefined) await answers[path]?.(request, response, basePath);
      else sendAsset(request, response, file);
    },
    end: () => streams.end(),
  };
}

/** The target's query; a target that is no path has none. */
function queryOf({ url = "" }: IncomingMessage): URLSearchParams {
  const at = url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : url.slice(at + 1));
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  type: string,
  body: string | Buffer,
  headers: OutgoingHttpHeaders = {},
  status = 200,
): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...headers,
  });
  response.end(request.method === "HEAD" ? "" : body);
}

function sendPage(request: IncomingMessage, response: ServerResponse, html: string): void {
  const policy = { "content-security-policy": contentSecurityPolicy, "referrer-policy": "no-referrer" };
  send(request, response, "text/html; charset=utf-8", html, policy);
}

function sendAsset(request: IncomingMessage, response: ServerResponse, file: Asset): void {
  const { headers } = request;
  const always = { "cache-control": `max-age=${assetAge}`, etag: file.tag, vary: "accept-encoding" };
  if (headers["if-none-match"]?.includes(file.tag)) {
    response.writeHead(304, always).end();
    return;
  }
  const packed = /\bgzip\b/.test(String(headers["accept-encoding"] ?? ""));
  send(request, response, file.type, packed ? file.gzip : file.body, {
    ...always,
    ...(packed ? { "content-encoding": "gzip" } : {}),
  });
}
