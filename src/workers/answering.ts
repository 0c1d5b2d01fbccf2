// How a worker answers a client: from a grant it remembers, from one the primary gives it now, or with what the primary
// answers. It decides nothing itself: what a client may have is for the primary to say, and a worker that cannot ask it
// answers 503.
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { inMemory } from "../cache/local-blobs.ts";
import type { StoredReaders } from "../cache/stored-readers.ts";
import { createCredentialKey } from "../gate/credential-key.ts";
import { sendBlob, sendBlobHead } from "../http/blob-handler.ts";
import type { BufferPool } from "../http/buffer-pool.ts";
import { fail, failures } from "../http/error.ts";
import type { Exchange } from "../http/exchange.ts";
import { sendManifest } from "../http/manifest-handler.ts";
import { answersItself, type InPlaceOptions, inPlace, readAway, refuseWrite } from "../http/serve.ts";
import { takes } from "../oci/accept.ts";
import type { Digest } from "../oci/digest.ts";
import { largestManifest } from "../oci/manifest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { BlobStore, StoredBlob } from "../ports/blobs.ts";
import type { Clock } from "../ports/clock.ts";
import { type Grant, type GrantedFill, grantHeader, readGrant } from "../ports/grant.ts";
import { peerHeader } from "../ports/shared.ts";
import { currentSpan, endedBy } from "../ports/tracing/span.ts";
import { FollowedFill } from "./followed-fill.ts";
import type { Grants, Remembered } from "./grants.ts";
import { passedHeaders } from "./passed-headers.ts";
import type { PrimaryClient } from "./primary-client.ts";

export interface AnsweringOptions extends InPlaceOptions {
  readonly grants: Grants;
  readonly primary: PrimaryClient;
  readonly files: WorkerFiles;
  readonly readers: StoredReaders;
  readonly pool: BufferPool;
  /** Whether the Host header can name an upstream. */
  readonly hostMatters: boolean;
  /** Whether what a client may have depends on who it is: on its credentials, its certificate, its address. */
  readonly callerMatters: CallerMatters;
  readonly readiness: () => 200 | 404 | 503;
  /** The status of /livez. */
  readonly liveness: () => 200 | 503;
  /** A steady one. */
  readonly clock: Clock;
}

export interface CallerMatters {
  readonly credentials: boolean;
  readonly certificate: boolean;
  readonly address: boolean;
}

/** What a worker reads of the cache directory. Everything rejects with StoreError. */
export interface WorkerFiles extends Pick<BlobStore, "open"> {
  /** The spool of a blob of `size` bytes; undefined when there is no file of this path any more. */
  openSpool(digest: Digest, path: string, size: number): Promise<StoredBlob | undefined>;
}

/** An answer of the primary up to this size goes out in one write. */
const smallAnswer = 64 * 1024;

/** Answers the request. Never rejects. */
export function answer(exchange: Exchange, options: AnsweringOptions): Promise<void> {
  return inPlace(exchange, options, dispatch);
}

async function dispatch(exchange: Exchange, options: AnsweringOptions): Promise<void> {
  if (answersItself(exchange, options.readiness, options.liveness)) return;
  const { method } = exchange.request;
  // Node hands its connection over, so there is nothing to pass on.
  if (method === "CONNECT") return refuseWrite(exchange);
  const reads = method === "GET" || method === "HEAD";
  if (reads) readAway(exchange);
  // The way of the request through other mirrors has to be looked at, and whether a node asks, by the primary.
  const { via, [peerHeader]: node } = exchange.request.headers;
  const grantable = reads && via === undefined && node === undefined;
  if (!grantable) return pass(exchange, options, !reads);
  const key = keyOf(exchange, options);
  const remembered = rememberedFor(exchange, key, options);
  if (
    remembered !== undefined &&
    (await answerFrom(exchange, remembered, options, options.readers.cuts, true))
  )
    return;
  return ask(exchange, key, options);
}

const credentialKey = createCredentialKey();

/** Requests with the same key get the same answer while nothing changes. */
function keyOf(
  exchange: Exchange,
  { hostMatters, callerMatters }: Pick<AnsweringOptions, "hostMatters" | "callerMatters">,
): string {
  const { request, client } = exchange;
  const { host, range, authorization } = request.headers;
  // A part may be given of bytes that would be checked before the whole is.
  let key = `${range === undefined ? "" : "part "}${request.url ?? ""}`;
  if (callerMatters.credentials) key += ` ${credentialKey(authorization ?? "")}`;
  // Its characters are those of base64, so that nothing after it can be taken for a part of it.
  if (callerMatters.certificate) key += ` ${exchange.certified?.key ?? ""}`;
  if (callerMatters.address) key += ` ${client.address}`;
  return hostMatters ? `${key} ${host ?? ""}` : key;
}

function headKeyOf(key: string): string {
  return `HEAD ${key}`;
}

function rememberedFor(
  { isHead }: Exchange,
  key: string,
  { grants, clock }: AnsweringOptions,
): Remembered | undefined {
  const now = clock();
  const whole = grants.get(key, now);
  if (!isHead) return whole;
  return whole?.grant.heads === true ? whole : grants.get(headKeyOf(key), now);
}

/**
 * False when the worker cannot answer from it after all; nothing has been sent then. `cuts`: those of the readers when the
 * grant was looked up or asked for. Stored bytes that prove wrong meanwhile may be those that were granted.
 */
async function answerFrom(
  exchange: Exchange,
  { grant, body, at }: Remembered,
  { files, readers, pool, clock }: AnsweringOptions,
  cuts: number,
  remembered: boolean,
): Promise<boolean> {
  const { digest, size, mediaType = mediaTypes.octetStream } = grant;
  const elapsed = clock() - at;
  const note = (): void => found(exchange, grant, elapsed, remembered && body !== undefined);
  if (grant.kind === "manifest") {
    if (body === undefined && !exchange.isHead) return false;
    // The primary asks upstream what it gives to such a client.
    if (grant.route === "manifest_tag" && !takes(exchange.request.headers.accept, mediaType)) return false;
    note();
    sendManifest(exchange, { digest, mediaType, size, body, age: grant.age + elapsed });
    return true;
  }
  if (exchange.isHead) {
    note();
    sendBlobHead(exchange, digest, size);
    return true;
  }
  if (body !== undefined) {
    note();
    await sendBlob(exchange, inMemory("memory", body), digest, pool);
    return true;
  }
  // When it cannot be opened the primary finds out why, and what to do.
  const opening = files.open(digest);
  const span = currentSpan()?.child("disk open", { "entrepot.digest": digest });
  const stored = await (span === undefined ? opening : endedBy(span, opening)).catch(() => undefined);
  if (stored === undefined) return false;
  const reader = readers.add(digest, stored);
  try {
    if (stored.size !== size || readers.cuts !== cuts) return false;
    note();
    await sendBlob(exchange, { size, reader }, digest, pool);
    return true;
  } finally {
    await reader.close();
  }
}

/** As `answerFrom`, for a blob that the primary is filling. */
async function answerFromFill(
  exchange: Exchange,
  grant: Grant,
  { file, whole, result, cacheStatus }: GrantedFill,
  answer: IncomingMessage,
  { files, readers, pool }: AnsweringOptions,
  cuts: number,
): Promise<boolean> {
  const { digest, size, source } = grant;
  const spool = await files.openSpool(digest, file, size).catch(() => undefined);
  if (spool === undefined) {
    answer.destroy();
    return false;
  }
  if (readers.cuts !== cuts) {
    answer.destroy();
    await spool.close();
    return false;
  }
  if (whole) answer.resume();
  const followed = whole ? undefined : new FollowedFill(spool, answer);
  const forget = followed && readers.onCut(digest, (reason) => followed.cut(reason));
  const reader = followed ?? readers.add(digest, spool);
  try {
    noteContent(exchange, grant);
    exchange.found({ result, source, cacheStatus });
    await sendBlob(exchange, { size, reader }, digest, pool);
    return true;
  } finally {
    forget?.();
    await reader.close();
  }
}

/** Notes in the exchange what the primary has found out. */
function noteContent(exchange: Exchange, grant: Grant): void {
  const { route, upstream, repository, reference, user, digest, size, headers } = grant;
  const { mediaType = mediaTypes.octetStream } = grant;
  Object.assign(exchange.always, headers);
  Object.assign(exchange.findings, { route, upstream, repository, reference, user });
  exchange.findings.content = { digest, mediaType, size };
}

function found(exchange: Exchange, grant: Grant, elapsed: number, inMemory: boolean): void {
  noteContent(exchange, grant);
  const { source, freshFor } = grant;
  const left = freshFor === undefined ? undefined : freshFor - elapsed;
  // What is remembered from the first time on comes from memory, whatever the primary took it from.
  const from = inMemory ? "memory" : source;
  exchange.found({ result: "hit", source: from, freshFor: left });
}

/** Asks the primary, and answers from its grant or passes its answer on. */
async function ask(exchange: Exchange, key: string, options: AnsweringOptions): Promise<void> {
  // A client that has left meanwhile has its event.
  if (exchange.closed) return;
  const { grants, primary, readers, clock } = options;
  const asOf = grants.changes;
  const askedAt = clock();
  const { cuts } = readers;
  // The primary makes the event of what it answers, and not of what it grants.
  exchange.reportedElsewhere(undefined);
  const answer = await asking(exchange, () => primary.ask(exchange, { takesGrant: true, withBody: false }));
  if (answer === undefined) return;
  const header = answer.headers[grantHeader];
  if (typeof header !== "string") return passAnswer(exchange, answer);
  exchange.reportedElsewhere(false);
  const grant = readGrant(header);
  if (grant.fill !== undefined) {
    if (await answerFromFill(exchange, grant, grant.fill, answer, options, cuts)) return;
    return pass(exchange, options, false);
  }
  const body = await readBody(answer, grant);
  // What is granted may have been blocked since, or proved wrong.
  if (readers.cuts !== cuts) return pass(exchange, options, false);
  const now = clock();
  // What proves the caller has been going on since the primary looked, which was after it was asked.
  const lasts = grant.lasts === undefined ? undefined : grant.lasts - (now - askedAt);
  const remembered = { grant, body, at: now, until: now };
  if (!exchange.isHead) grants.remember(key, { ...grant, lasts }, body, now, asOf);
  else if (grant.heads) grants.remember(headKeyOf(key), { ...grant, lasts }, body, now, asOf);
  if (await answerFrom(exchange, remembered, options, cuts, false)) return;
  // Evicted since.
  return pass(exchange, options, false);
}

/** All of the body of a grant, at most 4 MiB; undefined for none. */
async function readBody(answer: IncomingMessage, { size }: Grant): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > largestManifest) throw new Error("the primary granted more than a worker can hold");
    chunks.push(chunk);
  }
  if (length !== size || length === 0) return undefined;
  // Memory of its own, not a slice of a larger buffer: it may stay for long.
  const body = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(body, at);
  return body;
}

// ---- what the primary answers -------------------------------------------------------------------------------------

async function pass(exchange: Exchange, { primary }: AnsweringOptions, withBody: boolean): Promise<void> {
  if (exchange.closed) return;
  exchange.reportedElsewhere(true);
  const answer = await asking(exchange, () => primary.ask(exchange, { takesGrant: false, withBody }));
  if (answer !== undefined) await passAnswer(exchange, answer);
}

/** Undefined when the client has left, or has been told that the primary does not answer. */
async function asking(
  exchange: Exchange,
  ask: () => Promise<IncomingMessage>,
): Promise<IncomingMessage | undefined> {
  try {
    return await ask();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // It has seen the end of the connection, unless there was none.
    if (exchange.closed) exchange.reportedElsewhere(code !== "ECONNREFUSED" && code !== "ENOENT");
    else {
      exchange.reportedElsewhere(false);
      exchange.findings.detail = "the primary does not answer";
      fail(exchange, failures.primaryLost);
    }
    return undefined;
  }
}

/** The primary makes the event. When its answer breaks off, so does this one. */
async function passAnswer(exchange: Exchange, answer: IncomingMessage): Promise<void> {
  exchange.reportedElsewhere(true);
  if (exchange.closed) {
    answer.destroy();
    return;
  }
  const { statusCode: status = 502 } = answer;
  const announced = answer.headers["content-length"];
  const length = announced === undefined ? undefined : Number(announced);
  const headers = headersOf(answer);
  try {
    if (exchange.isHead || status === 304) {
      answer.resume();
      if (status === 304) exchange.send(304, headers);
      else exchange.sendHead(status, headers, length);
    } else if (length !== undefined && length <= smallAnswer) {
      const chunks: Buffer[] = [];
      for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
      exchange.send(status, headers, Buffer.concat(chunks));
    } else {
      exchange.begin(status, headers, length);
      for await (const chunk of answer as AsyncIterable<Buffer>) await exchange.write(chunk);
      exchange.end();
    }
  } catch {
    answer.destroy();
    // Also when nothing was sent yet: the primary has made the event of a broken answer, not of another one.
    exchange.cut("upstream");
  }
}

/** Headers of the primary's answer that are about its connection to the worker. */
const ownHeaders = new Set(["connection", "keep-alive", "date", "transfer-encoding", "content-length"]);

function headersOf({ rawHeaders, headers: { connection } }: IncomingMessage): OutgoingHttpHeaders {
  const headers = passedHeaders(rawHeaders, (name) => ownHeaders.has(name));
  // Said by the primary, which keeps connections to workers by itself: the client's is to end.
  return connection === "close" ? { ...headers, connection } : headers;
}
