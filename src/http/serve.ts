// From a request to its handler.
import type { DeniedDigests } from "../cache/denied-digests.ts";
import type { Listings } from "../cache/listings.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import { referenceText } from "../oci/reference.ts";
import { parseTarget, type Route, type RouteProblem } from "../oci/route.ts";
import type { RouteKind } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import { type Upstream, UpstreamError } from "../ports/upstream.ts";
import { type BlobHandlerOptions, handleBlob } from "./blob-handler.ts";
import { granted } from "./client-limits.ts";
import {
  type Failure,
  fail,
  failureOfCircle,
  failureOfProblem,
  failureOfRefusal,
  failures,
  failWith,
} from "./error.ts";
import { ClientLeft, type Exchange } from "./exchange.ts";
import type { FairQueue } from "./fair-queue.ts";
import { malformation } from "./guard.ts";
import { handleCatalog, handleReferrers, handleTags } from "./listing-handler.ts";
import { passage } from "./loop.ts";
import { handleManifest, type ManifestHandlerOptions } from "./manifest-handler.ts";
import type { Outcome } from "./outcome.ts";
import type { PassThrough } from "./push/pass-through.ts";
import { writtenRoute } from "./push/written-route.ts";
import { discardBody, unwanted } from "./request-body.ts";
import { tracedOn } from "./request-identity.ts";
import type { Router, TagRule, Target } from "./routing.ts";

export interface ServeOptions extends BlobHandlerOptions, ManifestHandlerOptions {
  readonly index: Pick<BlobIndex, "repositories">;
  readonly listings: Listings;
  readonly router: Router;
  readonly denied: DeniedDigests;
  /** The answers clients may have open. */
  readonly answers: FairQueue;
  /** The way for writes to an upstream; undefined, as here or as an answer: they are refused. */
  readonly push?: (upstream: Upstream) => PassThrough | undefined;
  /** How this node names itself in Via to upstreams: met in a request, it is its own upstream. */
  readonly pseudonym: string;
  readonly catalog: boolean;
  /** The answer of /readyz; 404: it drains. */
  readonly readiness: () => 200 | 404 | 503;
  /** Told of errors that are bugs of ours. */
  readonly unexpected: (error: unknown) => void;
}

/** Answers the request. Never rejects: whatever is thrown becomes an error answer or a cut connection. */
export async function serve(exchange: Exchange, options: ServeOptions): Promise<void> {
  try {
    const place = isProbe(exchange.request.url) ? undefined : options.answers.enter(exchange.client);
    exchange.place = place;
    if (place !== undefined && !place.held) await granted(place);
    await dispatch(exchange, options);
  } catch (error) {
    if (exchange.closed) return;
    if (error instanceof ClientLeft) return exchange.leave();
    failWith(exchange, error);
    const { detail } = exchange.findings;
    if (detail?.includes(":")) options.unexpected(error);
  }
}

async function dispatch(exchange: Exchange, options: ServeOptions): Promise<void> {
  const { request } = exchange;
  const target = request.url ?? "";
  const problem = malformation(request);
  if (problem !== undefined) {
    exchange.findings.detail = problem;
    readAway(exchange);
    return fail(exchange, { ...failures.badRequest, headers: { connection: "close" } });
  }
  if (isProbe(target)) {
    readAway(exchange);
    exchange.findings.probe = target === "/livez" ? "livez" : "readyz";
    return probe(exchange, target === "/livez" ? 200 : options.readiness());
  }
  const passed = passage(exchange.header("via"), options.pseudonym);
  if (passed.kind !== "passes") {
    readAway(exchange);
    if (passed.kind === "too_far") return fail(exchange, failures.tooFar);
    exchange.findings.detail = `circle ${passed.names.join(" ")}`;
    return fail(exchange, failureOfCircle(passed.names));
  }
  const route = parseTarget(target);
  if (typeof route !== "string") exchange.findings.route = routeKind(route);
  const reads = request.method === "GET" || request.method === "HEAD";
  if (!reads || (typeof route !== "string" && route.kind === "upload"))
    return write(exchange, options, route, passed.via);
  readAway(exchange);
  if (typeof route === "string") return fail(exchange, failureOfProblem(route));
  return read(exchange, options, route, passed.via);
}

async function write(
  exchange: Exchange,
  options: ServeOptions,
  route: Route | RouteProblem,
  via: string | undefined,
): Promise<void> {
  const { findings } = exchange;
  if (typeof route === "string") {
    if (options.push === undefined || route === "unknown") return refuseWrite(exchange);
    readAway(exchange);
    return fail(exchange, failureOfProblem(route));
  }
  const routed = options.router.route(route, exchange.header("host"));
  if (routed.kind === "unknown") return refuseWrite(exchange);
  const [target] = routed.targets;
  const { upstream, repository, allowed } = target;
  const passThrough = options.push?.(upstream);
  if (passThrough === undefined) return refuseWrite(exchange);
  findings.upstream = upstream.name;
  findings.repository = repository;
  findings.reference = writtenReference(route);
  if (!("repository" in route)) return passThrough.handle(exchange, route, undefined, via);
  const tagged = route.kind === "manifest" ? (route.tags ?? []) : [];
  const tagsAllowed = tagged.every((tag) => {
    const asked = options.router.route(
      { ...route, reference: { kind: "tag", tag } } as Route,
      exchange.header("host"),
    );
    return asked.kind === "routed" && asked.targets[0].allowed;
  });
  if (!allowed || !tagsAllowed || repository === undefined) return refuseWrite(exchange, failures.notAllowed);
  const there = writtenRoute(route, target, repository, options.router, exchange.header("host"));
  return passThrough.handle(exchange, there, route.repository, via);
}

async function read(
  exchange: Exchange,
  options: ServeOptions,
  route: Route,
  via: string | undefined,
): Promise<void> {
  const { findings } = exchange;
  const routed = options.router.route(route, exchange.header("host"));
  if (routed.kind === "unknown") return fail(exchange, failures.upstreamUnknown);
  const permitted = withoutDenied(routed.targets, route, options.denied);
  const targets = seenBy(permitted, via, tracedOn(exchange.header("traceparent")));
  const [{ upstream }] = targets;
  findings.upstream = upstream.name;
  if (routed.namespace !== undefined) exchange.always["oci-namespace"] = routed.namespace;
  const pushed = (to: Upstream): boolean => options.push?.(to) !== undefined;
  switch (route.kind) {
    case "ping":
      return ping(exchange);
    case "catalog":
      if (!options.catalog) return fail(exchange, failures.catalogOff);
      return handleCatalog(exchange, options, upstream, route.page, route);
    case "tags":
      return askInTurn(exchange, targets, via, failures.repositoryUnknown, (upstream, repository, rule) =>
        handleTags(exchange, options.listings, upstream, repository, route.page, route, rule),
      );
    case "manifest":
      findings.reference = referenceText(route.reference);
      return askInTurn(exchange, targets, via, failures.manifestUnknown, (upstream, repository) =>
        handleManifest(exchange, options, upstream, repository, route.reference, pushed(upstream)),
      );
    case "blob":
      findings.reference = route.digest;
      return askInTurn(exchange, targets, via, failures.blobUnknown, (upstream, repository) =>
        handleBlob(exchange, options, upstream, repository, route.digest, pushed(upstream)),
      );
    case "referrers":
      findings.reference = route.digest;
      return askInTurn(exchange, targets, via, failures.referrersUnknown, (upstream, repository) =>
        handleReferrers(exchange, options.listings, upstream, repository, route.digest, route.artifactType),
      );
    case "upload":
      return write(exchange, options, route, via);
  }
}

type Ask = (upstream: Upstream, repository: Repository, rule: TagRule | undefined) => Promise<Outcome>;
type Targets = readonly [Target, ...Target[]];

/** The targets, of which those are not allowed that know the digest by nothing but denied tags. */
function withoutDenied(targets: Targets, route: Route, denied: DeniedDigests): Targets {
  const digest = digestIn(route);
  if (digest === undefined || targets.every(({ tagRule }) => tagRule === undefined)) return targets;
  const judged = (target: Target): Target => {
    const { upstream, repository, allowed, tagRule } = target;
    if (!allowed || repository === undefined || tagRule === undefined) return target;
    return { ...target, allowed: !denied.denies(upstream, repository, digest, tagRule) };
  };
  const [first, ...rest] = targets;
  return [judged(first), ...rest.map(judged)];
}

/** What a read asks for by content. */
function digestIn(route: Route): Digest | undefined {
  if (route.kind === "blob" || route.kind === "referrers") return route.digest;
  return route.kind === "manifest" && route.reference.kind === "digest" ? route.reference.digest : undefined;
}

/** The targets as asked on behalf of the mirrors and proxies `via`, in the trace of the client. */
function seenBy(targets: Targets, via: string | undefined, traceparent: string | undefined): Targets {
  if (via === undefined && traceparent === undefined) return targets;
  const seen = (target: Target): Target => ({
    ...target,
    upstream: target.upstream.forwarding(via, traceparent),
  });
  const [first, ...rest] = targets;
  return [seen(first), ...rest.map(seen)];
}

/**
 * Asks one upstream after the other, as far as the configuration lets a refusal or a failure pass on; the last one's
 * refusal or failure is the answer. Nothing passes on once an answer has begun. Of two mirrors that are each other's
 * next the question comes back: what was said before it went there is the answer then.
 */
async function askInTurn(
  exchange: Exchange,
  targets: Targets,
  via: string | undefined,
  absent: Failure,
  ask: Ask,
): Promise<void> {
  const { findings } = exchange;
  let before: (() => void) | undefined;
  for (const [i, { upstream, repository, allowed, tagRule, onAbsent, onFailure }] of targets.entries()) {
    const last = i === targets.length - 1;
    findings.upstream = upstream.name;
    findings.repository = repository;
    try {
      let outcome: Outcome | "not_allowed" = "not_allowed";
      if (allowed && repository !== undefined) {
        const asked = (): Promise<Outcome> => ask(upstream, repository, tagRule);
        outcome = await (via === undefined ? orOnceMore(exchange, asked) : asked());
      }
      if (outcome === "served") return;
      const tell = (): void => {
        if (outcome === "not_allowed") fail(exchange, failures.notAllowed, "denied");
        else {
          Object.assign(exchange.always, outcome.relayed);
          fail(exchange, failureOfRefusal(outcome, absent), findings.result);
        }
      };
      if (!last && onAbsent && (outcome === "not_allowed" || outcome.kind === "absent")) {
        before = outcome === "not_allowed" ? () => fail(exchange, absent, findings.result) : tell;
        continue;
      }
      return tell();
    } catch (error) {
      if (exchange.headersSent || !(error instanceof UpstreamError)) throw error;
      if (error.code === "loop" && (last || !onFailure) && before !== undefined) return before();
      if (last || !onFailure) throw error;
      before ??= () => {
        throw error;
      };
    }
  }
}

/**
 * Questions under way are shared, also with one that came through mirrors, or says so: its circle is not that of a
 * client that names nobody, who asks once more for itself. In a circle this goes round twice, and ends.
 */
function orOnceMore(exchange: Exchange, ask: () => Promise<Outcome>): Promise<Outcome> {
  return ask().catch((error: unknown) => {
    if (exchange.headersSent || !(error instanceof UpstreamError) || error.code !== "loop") throw error;
    return ask();
  });
}

/** Answered here and at once: docker waits 15 s for it, podman skips a mirror that fails it (docs/clients.md 1, 2). */
function ping(exchange: Exchange): void {
  exchange.findings.result = "hit";
  const headers = { "content-type": "application/json", "docker-distribution-api-version": "registry/2.0" };
  exchange.send(200, headers, "{}");
}

/** Asked by who watches this node: answered also when others wait, or are refused. */
export function isProbe(target: string | undefined): boolean {
  return target === "/livez" || target === "/readyz";
}

const probed = { 200: "ok\n", 404: "draining\n", 503: "not ready\n" } as const;

function probe(exchange: Exchange, status: 200 | 404 | 503): void {
  exchange.findings.result = "hit";
  exchange.send(status, { "content-type": "text/plain", "cache-control": "no-store" }, probed[status]);
}

/** The body of a refused write is not read to its end, so the connection cannot be used again. */
function refuseWrite(exchange: Exchange, failure: Failure = failures.readOnly): void {
  readAway(exchange);
  const headers = { ...failure.headers, ...(exchange.hasBody ? { connection: "close" } : {}) };
  fail(exchange, { ...failure, headers }, "denied");
}

function readAway({ request, hasBody }: Exchange): void {
  if (hasBody) void discardBody(request, unwanted);
}

function writtenReference(route: Route): string | undefined {
  if (route.kind === "manifest") return referenceText(route.reference);
  if (route.kind === "upload") return route.upload.mount ?? route.upload.digest;
  return route.kind === "blob" ? route.digest : undefined;
}

function routeKind(route: Route): RouteKind {
  if (route.kind !== "manifest") return route.kind;
  return route.reference.kind === "tag" ? "manifest_tag" : "manifest_digest";
}
