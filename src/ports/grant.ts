// What the primary of a node gives a worker with which the worker answers a client by itself: a manifest or a blob that is
// here, and that this request may have. The request that asked for it is answered from it, and for a while those that ask
// for the same. Hits are granted, and blobs on their way whose bytes the worker can read from the file of their spool while
// the primary tells it how far that is; everything else the primary answers through the worker.
import { type Digest, parseDigest } from "../oci/digest.ts";
import { type Result, type RouteKind, routeKinds, type Source } from "./event.ts";
import type { Scope } from "./scope.ts";

/** Header of a worker's question that says it takes a grant for an answer. */
export const takesGrantHeader = "entrepot-worker";
/** Header with the client's address, in a worker's question. */
export const clientHeader = "entrepot-client";
/** Header with the path before that of this mirror for the client (Exchange.basePath), in a worker's question. */
export const basePathHeader = "entrepot-base-path";
/** Header with where the client has reached this mirror (Exchange.origin), in a worker's question. */
export const originHeader = "entrepot-origin";
/** Header with whom the client's certificate names (gate/certificate-caller.ts, its key), in a worker's question. */
export const certificateHeader = "entrepot-certificate";
/** Header of a worker's question for a client that speaks HTTP/1.0. */
export const oldHttpHeader = "entrepot-http-1-0";
/** Header of an answer that is a grant. */
export const grantHeader = "entrepot-grant";

/** Numbers in bytes and milliseconds. */
export interface Grant extends Scope {
  readonly kind: "manifest" | "blob";
  readonly route: RouteKind;
  /** The tag or digest that was asked for. */
  readonly reference: string;
  readonly digest: Digest;
  /** Of a manifest. */
  readonly mediaType?: string;
  readonly size: number;
  readonly source: Source;
  /** The name of the caller it was given to. */
  readonly user?: string | undefined;
  /** Headers of every answer made from it. */
  readonly headers: Readonly<Record<string, string>>;
  /** Since upstream confirmed a tag; 0 for everything else. */
  readonly age: number;
  /** Until a tag has to be confirmed; left out for everything else. */
  readonly freshFor?: number;
  /** As long as its caller's credentials are known to be good; left out: until there is news. */
  readonly lasts?: number | undefined;
  /** HEAD may be answered from it. Not so where clients push: there upstream is asked. */
  readonly heads: boolean;
  /** Of a blob on its way, whose body of the answer is lines of `FillNews`; it is granted for one request. */
  readonly fill?: GrantedFill;
}

export interface GrantedFill {
  /** Path of the file its first bytes are in. */
  readonly file: string;
  readonly result: Result;
  /** All of the blob is in the file, and is verified: there is nothing to be told. */
  readonly whole: boolean;
  /** Cache-Status of upstream's answer. */
  readonly cacheStatus?: string;
}

/**
 * What is told of a granted fill: the bytes in its file that may be read; that the bytes after those follow here, since
 * no more come into the file; or why there will be no more.
 */
export type FillNews =
  | number
  | "bytes"
  | {
      readonly failed: "upstream" | "store";
      readonly code: string;
      readonly message: string;
      readonly status?: number | undefined;
    };

/** What a handler knows of it; the rest has been found out before. */
export type GrantedContent = Omit<Grant, "route" | "source" | "reference" | "user" | "headers" | "lasts">;

/** The value of `grantHeader`. */
export function writeGrant(grant: Grant): string {
  return Buffer.from(JSON.stringify(grant)).toString("base64url");
}

/** One line. */
export function writeFillNews(news: FillNews): Buffer {
  return Buffer.from(`${JSON.stringify(news)}\n`);
}

export function readFillNews(line: string): FillNews {
  return JSON.parse(line) as FillNews;
}

/** Throws Error for anything but what `writeGrant` gives: both ends are of one version. */
export function readGrant(header: string): Grant {
  const grant = JSON.parse(Buffer.from(header, "base64url").toString()) as Grant;
  const known = parseDigest(grant.digest) !== undefined && routeKinds.includes(grant.route);
  if (!known || !Number.isSafeInteger(grant.size)) throw new Error("not a grant");
  return grant;
}
