// Writes, passed on to one upstream. Nothing of them is stored here. What the cache holds of what they change is
// dropped before the client gets its answer.
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { apiUrl } from "../../oci/api-url.ts";
import { type Digest, makeDigest, parseDigest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import { type Reference, referenceText } from "../../oci/reference.ts";
import type { Route } from "../../oci/route.ts";
import type { Blocked } from "../../ports/block/blocked.ts";
import { BlockedError, type ManifestContent, type Verdicts } from "../../ports/block/verdict.ts";
import type { CallerCredentials } from "../../ports/caller-credentials.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { PushSink, PushTarget } from "../../ports/push.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { viaOf } from "../../ports/via.ts";
import { granted } from "../client-limits.ts";
import { fail, failureOfError, failures, withoutBody } from "../error.ts";
import { ClientLeft, type Exchange } from "../exchange.ts";
import type { FairQueue } from "../fair-queue.ts";
import { discardBody, unwanted } from "../request-body.ts";
import { headersToClient, headersToUpstream } from "./forwarded-headers.ts";
import { answerChunks, answerText, BodyStalled, Forwarder, type ForwardingTimeouts } from "./forwarding.ts";
import { BodyTooLong, HeldBodies, type HeldBody } from "./held-bodies.ts";
import { digestsNamed, failureOfRefusal, resultOfRefusal } from "./refused-write.ts";
import { ourPath, type RequestNames, redirectedTo, UploadSessions } from "./upload-sessions.ts";
import {
  actionsOf,
  allowedMethods,
  takesBody,
  uploadedBlob,
  type WriteRequest,
  writeRequest,
  writtenBy,
} from "./write-request.ts";

export interface PassThroughOptions {
  /** Upstream's name, for events. */
  readonly name: string;
  /** How this node names itself in Via. */
  readonly pseudonym: string;
  readonly target: PushTarget;
  readonly sink: PushSink;
  readonly timeouts: ForwardingTimeouts;
  /** Bounds how many writes are passed on at the same time. Those without a body never wait for a slow body. */
  readonly places: { readonly bodies: FairQueue; readonly others: FairQueue };
  /** Nothing is passed on under a digest that is blocked, nor a manifest that names one; left out: everything is. */
  readonly verdicts?: Verdicts;
  /** Holds bodies that may have to be sent again; 32 MiB when left out. */
  readonly bodies?: HeldBodies;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

/** Most bytes read of an error, and most bytes passed on of any other answer. */
const longestError = 64 * 1024;
const longestAnswer = 4 * 1024 * 1024;
/** How many times longer the answer to a request with a body may take: upstream hashes and moves whole layers. */
const bodyTimeoutFactor = 10;

/** Most redirects followed for one write. */
const mostRedirects = 3;

/** Upstream redirects a write that cannot be sent again. */
class WriteRedirected extends UpstreamError {}

/** One write on its way, which may be sent more than once. */
interface Passing {
  readonly exchange: Exchange;
  readonly names: RequestNames;
  /** The write with the names the cache has for things, and with those upstream has. */
  readonly write: WriteRequest;
  readonly sent: WriteRequest;
  readonly withBody: boolean;
  /** Who writes, where that is for upstream to judge. */
  readonly caller: CallerCredentials | undefined;
  /** Where the request is sent next, and with which of the client's headers. */
  url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** The body, once all of it is in memory. */
  held: HeldBody | undefined;
  /** How often it may still be sent again, by reason. */
  readonly again: { losses: number; challenges: number; redirects: number };
}

export class PassThrough {
  readonly #options: PassThroughOptions;
  readonly #forwarder: Forwarder;
  #sessions: UploadSessions;
  #bodies: HeldBodies;

  constructor(options: PassThroughOptions) {
    this.#options = options;
    this.#forwarder = new Forwarder(options.name);
    this.#sessions = new UploadSessions(options.target.url, options.clock);
    this.#bodies = options.bodies ?? new HeldBodies();
  }

  /** Takes the place of another one, whose uploads go on here when they are at the same registry. */
  continue(before: PassThrough): void {
    this.#bodies = before.#bodies;
    if (this.#options.target.url.href === before.#options.target.url.href) this.#sessions = before.#sessions;
  }

  /**
   * Passes the request on, or answers why not. `route` has the names that the cache has for what upstream holds. `as`
   * is the repository as the client wrote it, to which a Location leads back. `via`: the members of Via the request
   * came with. Rejects with UpstreamError, for the caller to answer, or with another error when the client has left.
   */
  async handle(
    exchange: Exchange,
    route: Route,
    as: Repository | undefined,
    via: string | undefined,
    caller?: CallerCredentials,
  ): Promise<void> {
    const { request } = exchange;
    const write = writeRequest(route, request.method ?? "");
    const withBody = exchange.hasBody && takesBody(request.method ?? "");
    if (exchange.hasBody && !withBody) void discardBody(request, unwanted);
    if (write === undefined) {
      const headers = { allow: allowedMethods(route) };
      return fail(exchange, { ...failures.unknownMethod, headers }, "denied");
    }
    if ((exchange.header("expect") ?? "100-continue").toLowerCase() !== "100-continue")
      return fail(exchange, failures.expectation);
    const blocked = await this.#blockedIn(write, digestsOf(write));
    if (exchange.closed) throw new ClientLeft();
    if (blocked !== undefined) return refuseBlocked(exchange, blocked);
    const sent = this.#withUpstreamNames(write);
    const { prefix, ns } = route;
    const names = { prefix, ns, repository: as ?? write.repository, upstreamRepository: sent.repository };
    const members = viaOf(this.#options.pseudonym, via);
    const headers = headersToUpstream(request.headers, { body: withBody ? "sent" : "none", via: members });
    const { bodies, others } = this.#options.places;
    const place = (withBody ? bodies : others).enter(exchange.client);
    const off = exchange.onOver(() => place.release());
    try {
      await granted(place);
      const again = { losses: 1, challenges: 1, redirects: mostRedirects };
      const url = this.#urlOf(sent);
      const held = undefined;
      await this.#pass({ exchange, names, write, sent, withBody, caller, url, headers, held, again });
    } finally {
      off();
      place.release();
    }
  }

  async #pass(passing: Passing): Promise<void> {
    const { exchange } = passing;
    exchange.findings.source = `upstream:${this.#options.name}`;
    try {
      while ((await this.#send(passing)) === "again");
    } catch (error) {
      if (exchange.closed) throw error;
      if (error instanceof BlockedError) return refuseBlocked(exchange, error.blocked);
      if (error instanceof BodyStalled) return fail(exchange, failures.bodyStalled);
      if (error instanceof BodyTooLong) return fail(exchange, failures.bodyTooLong);
      if (passing.caller !== undefined && error instanceof UpstreamError && isOfAccount(error))
        return refuseCaller(exchange, error);
      this.#noticeFailure(error);
      if (!(error instanceof WriteRedirected)) throw error;
      exchange.findings.detail = error.code;
      fail(exchange, failures.writeRedirected);
    } finally {
      passing.held?.release();
    }
  }

  /** Sends the request once. Resolves with "again" when it is to be sent once more. */
  async #send(passing: Passing): Promise<"done" | "again"> {
    const { exchange, write, withBody, url, again } = passing;
    const authorization = await this.#authorization(passing);
    if (withBody) exchange.proceed();
    if (withBody && write.kind === "manifest") await this.#hold(passing);
    const forwarding = this.#forwarder.start(
      exchange,
      {
        url,
        headers: this.#headersOf(passing),
        authorization,
        body: passing.held?.bytes ?? (withBody ? "client" : undefined),
        agent: this.#options.target.agentFor(url),
      },
      this.#timeouts(withBody),
    );
    let answered = false;
    try {
      const answer = await forwarding.answer;
      answered = true;
      exchange.findings.upstreamStatus = answer.statusCode;
      const { statusCode: status } = answer;
      if (status === 401 || status === 403 || status === 400) {
        const learns = await this.#learns(passing, answer, status);
        if (learns && this.#repeatable(passing) && again.challenges-- > 0) return "again";
        if (status === 401) throw this.#error("auth", "refuses this mirror's account", 401);
      }
      const elsewhere = this.#redirectOf(passing, answer);
      if (elsewhere !== undefined) {
        passing.url = elsewhere;
        return "again";
      }
      await this.#relay(passing, answer);
      return "done";
    } catch (error) {
      if (forwarding.delivered && !answered) await this.#reportUnsure(write);
      if (forwarding.lostIdle && again.losses-- > 0) return "again";
      throw error;
    } finally {
      forwarding.close();
    }
  }

  /** Reads the manifest that is written. Throws BlockedError for one that is given to nobody. */
  async #hold(passing: Passing): Promise<void> {
    if (passing.held !== undefined) return;
    const { exchange, write } = passing;
    passing.held = await this.#bodies.read(exchange, this.#options.timeouts.client);
    if (passing.held === undefined || this.#options.verdicts?.any !== true) return;
    const body = passing.held.bytes;
    const digest = makeDigest("sha256", createHash("sha256").update(body).digest("hex"));
    const mediaType = exchange.header("content-type") ?? "";
    const blocked = await this.#blockedIn(write, [digest], { body, mediaType });
    if (blocked !== undefined) throw new BlockedError(blocked);
  }

  /**
   * What is blocked of these digests. Not what only refused images have: a better image may have it too. Where what is known
   * of images cannot be read, this rejects with StoreError.
   */
  async #blockedIn(
    { repository, method }: WriteRequest,
    digests: readonly Digest[],
    content?: ManifestContent,
  ): Promise<Blocked | undefined> {
    const { verdicts, name: upstream } = this.#options;
    if (verdicts?.any !== true || method === "DELETE") return undefined;
    for (const digest of digests) {
      const verdict = await verdicts.manifest({ upstream, repository }, digest, content);
      if (verdict.kind === "blocked" && verdict.because !== "part") return verdict;
    }
    return undefined;
  }

  #repeatable({ withBody, held }: Passing): boolean {
    return !withBody || held !== undefined;
  }

  /** A body in memory is sent with its length, also when it came in chunks. */
  #headersOf({ headers, held }: Passing): Readonly<Record<string, string>> {
    return held === undefined ? headers : { ...headers, "content-length": String(held.bytes.length) };
  }

  /**
   * Where upstream redirects the write to; undefined when the answer is for the client. That of an upload is: only the
   * client has the body, so it follows the redirect itself, through here.
   */
  #redirectOf(passing: Passing, { statusCode = 0, headers }: IncomingMessage): URL | undefined {
    const { write, url, again } = passing;
    if (statusCode < 300 || statusCode > 399) return undefined;
    const keepsMethod = statusCode === 307 || statusCode === 308;
    if (write.kind === "upload" && keepsMethod) return undefined;
    if (
      !keepsMethod ||
      headers.location === undefined ||
      !this.#repeatable(passing) ||
      again.redirects-- === 0
    )
      throw new WriteRedirected(
        "protocol",
        `upstream ${this.#options.name} redirects a write that cannot be sent again`,
        { status: statusCode },
      );
    return redirectedTo(this.#options.target.url, url, headers.location);
  }

  /** The only place that asks for credentials, and only for requests to upstream's own origin. */
  async #authorization({ sent: write, url, caller }: Passing): Promise<string | undefined> {
    if (!this.#isOwn(url)) return undefined;
    const from = write.kind === "upload" ? write.upload.from : undefined;
    return await this.#options.target.authorization(write.repository, actionsOf(write), from, caller);
  }

  /** Whether sending the request again may help. */
  async #learns(
    { sent, url, caller }: Passing,
    answer: IncomingMessage,
    status: 400 | 401 | 403,
  ): Promise<boolean> {
    const challenges = answer.headersDistinct["www-authenticate"] ?? [];
    const { target } = this.#options;
    return this.#isOwn(url) && (await target.refused(sent.repository, challenges, status, caller));
  }

  // ---- the answer -----------------------------------------------------------------------------------------------

  async #relay(passing: Passing, answer: IncomingMessage): Promise<void> {
    const { exchange } = passing;
    const status = answer.statusCode ?? 0;
    // Below 100 is no status at all (RFC 9110, section 15), below 200 is not a final one.
    if (status < 200) throw this.#error("protocol", "answered a write with no final status", status);
    if (status >= 400) return this.#relayRefusal(passing, answer, status);
    if (status < 300) {
      if (passing.withBody && !exchange.request.complete)
        throw this.#error("protocol", "accepted a write before it had the whole of it", status);
      await this.#done(passing, answer, status);
    }
    const path = this.#locationOf(passing, answer, status);
    const location = path === undefined ? {} : { location: `${exchange.basePath}${path}` };
    const headers = { ...headersToClient(answer.headers), ...location };
    exchange.found({ result: "pass", source: exchange.findings.source, written: true });
    // A redirect may come before the body has been sent. Its own body is not passed on.
    if (status >= 300) exchange.send(status, headers);
    else await this.#relayBody(exchange, answer, status, headers);
  }

  async #relayBody(
    exchange: Exchange,
    answer: IncomingMessage,
    status: number,
    headers: Record<string, string>,
  ): Promise<void> {
    if (exchange.closed) return;
    const announced = answer.headers["content-length"];
    const length = announced === undefined ? undefined : Number(announced);
    if (exchange.isHead || status === 204) return exchange.sendHead(status, headers, undefined);
    if (length === 0) return exchange.send(status, headers);
    exchange.begin(status, headers, length);
    let left = longestAnswer;
    for await (const chunk of answerChunks(answer, this.#options.timeouts.idle)) {
      left -= chunk.length;
      if (left < 0) throw this.#error("too_large", "answered a write at length", status);
      await exchange.write(chunk);
    }
    exchange.end();
  }

  async #relayRefusal(passing: Passing, answer: IncomingMessage, status: number): Promise<void> {
    const { exchange, write } = passing;
    // When the body cannot be read, the status still says enough.
    const text = await answerText(answer, longestError, this.#options.timeouts.idle).catch(() => undefined);
    if (status >= 500) {
      this.#noticeFailure(this.#error("server_error", "failed a write", status));
      await this.#reportUnsure(write);
    } else await this.#reportRefused(write, status, text);
    const failure = failureOfRefusal(write, status, text, answer.headers["retry-after"]);
    const { range } = answer.headers;
    const headers = { ...(range === undefined ? {} : { range }), ...failure.headers };
    fail(exchange, { ...failure, headers }, resultOfRefusal(failure));
  }

  async #done({ exchange, write }: Passing, answer: IncomingMessage, status: number): Promise<void> {
    Object.assign(exchange.findings, writtenBy(exchange.request, write, answer, status));
    if (write.kind === "upload" && (status === 201 || write.method === "DELETE"))
      this.#sessions.forget(write.upload);
    await this.#reportDone(write, uploadedBlob(write, answer, status));
  }

  /** Where the client goes on, or finds what it has written: always an absolute path of this mirror. */
  #locationOf({ names, write, url }: Passing, answer: IncomingMessage, status: number): string | undefined {
    const { location } = answer.headers;
    if (write.kind === "manifest") {
      const digest = parseDigest(String(answer.headers["docker-content-digest"]));
      return status === 201
        ? ourPath(names, `manifests/${digest ?? referenceText(write.reference)}`)
        : undefined;
    }
    if (write.kind === "blob") return undefined;
    const blob = write.upload.mount ?? write.upload.digest;
    if (status === 201) return blob === undefined ? undefined : ourPath(names, `blobs/${blob}`);
    return location === undefined ? undefined : this.#sessions.locationOf(names, write.upload, url, location);
  }

  // ---- what the cache has to hear -----------------------------------------------------------------------------

  /** Upstream has done it. `blob`: the blob that is in the repository now because of an upload. */
  async #reportDone(write: WriteRequest, blob: Digest | undefined): Promise<void> {
    const { sink } = this.#options;
    const { repository } = write;
    if (write.kind === "manifest") {
      const what = write.method === "PUT" ? "pushed" : "deleted";
      for (const reference of writtenReferences(write)) await sink.changed(repository, reference, what);
      return;
    }
    if (write.kind === "blob") return sink.blobDeleted(repository, write.digest);
    if (blob !== undefined) await sink.blobPushed(repository, blob);
  }

  /** Upstream has refused it, with a status from 400 to 499 and this body. */
  async #reportRefused(write: WriteRequest, status: number, text: string | undefined): Promise<void> {
    if (write.method === "DELETE" && (status === 404 || status === 410))
      return this.#reportDone(write, undefined);
    // Clients do not push blobs that HEAD says are there. If upstream has lost one that this mirror still knows, every
    // later push of the manifest would fail as well.
    if (write.kind !== "manifest" || write.method !== "PUT") return;
    for (const digest of digestsNamed(text)) await this.#options.sink.blobDeleted(write.repository, digest);
  }

  /** Upstream may have done it: its answer was lost, or was an error of its own. */
  async #reportUnsure(write: WriteRequest): Promise<void> {
    const { sink } = this.#options;
    if (write.kind === "manifest")
      for (const reference of writtenReferences(write))
        await sink.changed(write.repository, reference, "unsure");
    if (write.kind === "blob") await sink.blobDeleted(write.repository, write.digest);
  }

  // ---- upstream -----------------------------------------------------------------------------------------------

  #withUpstreamNames(write: WriteRequest): WriteRequest {
    const { target } = this.#options;
    const sent = { ...write, repository: target.upstreamRepository(write.repository) };
    if (sent.kind !== "upload" || sent.upload.from === undefined) return sent;
    return { ...sent, upload: { ...sent.upload, from: target.upstreamRepository(sent.upload.from) } };
  }

  #urlOf(write: WriteRequest): URL {
    const { url } = this.#options.target;
    switch (write.kind) {
      case "manifest":
        return apiUrl(
          url,
          write.repository,
          `manifests/${referenceText(write.reference)}`,
          new URLSearchParams(write.tags.map((tag): [string, string] => ["tag", tag])),
        );
      case "blob":
        return apiUrl(url, write.repository, `blobs/${write.digest}`);
      case "upload":
        return this.#sessions.urlOf(write.repository, write.upload);
    }
  }

  #isOwn(url: URL): boolean {
    return url.origin === this.#options.target.url.origin;
  }

  #timeouts(withBody: boolean): ForwardingTimeouts {
    const { timeouts } = this.#options;
    return withBody ? { ...timeouts, answer: timeouts.answer * bodyTimeoutFactor } : timeouts;
  }

  #error(code: UpstreamError["code"], text: string, status: number): UpstreamError {
    return new UpstreamError(code, `upstream ${this.#options.name} ${text}`, { status });
  }

  #noticeFailure(error: unknown): void {
    if (!(error instanceof UpstreamError)) return;
    const { code, status, message } = error;
    this.#options.notices({ kind: "upstream_error", upstream: this.#options.name, code, status, message });
  }
}

/** Upstream, or its token server, takes the credentials for nobody's, or gives this account no such right. */
function isOfAccount({ code, status }: UpstreamError): boolean {
  return code === "auth" && status !== undefined;
}

function refuseCaller(exchange: Exchange, { code, status }: UpstreamError): void {
  exchange.findings.detail = code;
  const failure = status === 403 ? failures.denied : failures.callerRefused;
  fail(exchange, withoutBody(exchange, failure), "denied");
}

/** Under which something is to be written. */
function digestsOf(write: WriteRequest): readonly Digest[] {
  if (write.kind === "manifest") return write.reference.kind === "digest" ? [write.reference.digest] : [];
  if (write.kind === "blob") return [write.digest];
  const { digest, mount } = write.upload;
  return [digest, mount].flatMap((each) => each ?? []);
}

function refuseBlocked(exchange: Exchange, blocked: Blocked): void {
  exchange.findings.detail = "blocked";
  fail(exchange, withoutBody(exchange, failureOfError(new BlockedError(blocked))), "denied");
}

function writtenReferences({ reference, tags }: WriteRequest & { kind: "manifest" }): readonly Reference[] {
  return [reference, ...tags.map((tag): Reference => ({ kind: "tag", tag }))];
}
