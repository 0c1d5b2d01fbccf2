// The life of one request, from top to bottom: its place among the open answers, the checks that need no upstream, who asks
// and what the rules let it do (src/gate), then a write or a read. A write goes through push/pass-through.ts. A read is
// routed (routing.ts) and asked of one upstream after the other by a handler: manifest-handler.ts, blob-handler.ts or
// listing-handler.ts. They ask src/cache and answer through the exchange (exchange.ts), which ends as one event. Requests
// come here from listener.ts, each connection's one after the other (connection.ts); every failure becomes an answer in
// error.ts.
import type { DeniedDigests } from "../cache/denied-digests.ts";
import type { Listings } from "../cache/listings.ts";
import type { Prefetch } from "../cache/prefetch/prefetch.ts";
import { covers, type Right, type Verb } from "../gate/access-rules.ts";
import { nobody } from "../gate/caller.ts";
import type { Admitted, Gate, NotAdmitted } from "../gate/gate.ts";
import type { OwnAccount, Verdict } from "../gate/proved-rights.ts";
import type { TokenAccess } from "../gate/token/token-access.ts";
import { belowBase } from "../oci/base-path.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import { referenceText } from "../oci/reference.ts";
import { parseTarget, type Route, type RouteProblem } from "../oci/route.ts";
import type { NodeProof } from "../ports/datacenter/node-proof.ts";
import type { Neighbours } from "../ports/datacenter/nodes.ts";
import type { Result, RouteKind } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import { peerHeader } from "../ports/shared.ts";
import {
  notCached,
  type RemoteRepository,
  remoteRepository,
  type Upstream,
  UpstreamError,
} from "../ports/upstream.ts";
import type { Refusal } from "../ports/upstream-answer.ts";
import { type BlobHandlerOptions, handleBlob } from "./blob-handler.ts";
import { granted } from "./client-limits.ts";
import { DrilledUpstream, drillError } from "./drilled-upstream.ts";
import {
  basicChallenge,
  type Failure,
  fail,
  failureOfCircle,
  failureOfCut,
  failureOfNotAdmitted,
  failureOfProblem,
  failureOfRefusal,
  failureOfScope,
  failures,
  failWith,
  type Outcome,
  refused,
  withoutBody,
} from "./error.ts";
import { ClientLeft, type Exchange } from "./exchange.ts";
import type { FairQueue } from "./fair-queue.ts";
import type { CallerLimits } from "./limits/caller-limits.ts";
import { handleCatalog, handleReferrers, handleTags, type ListAddress } from "./listing-handler.ts";
import { passage } from "./loop.ts";
import { handleManifest, type ManifestHandlerOptions } from "./manifest-handler.ts";
import { answerNode, isNodeQuestion, type NodeQuestionsOptions } from "./node-questions.ts";
import { wantsOnlyCached } from "./only-if-cached.ts";
import { absences, askForProof, scopeOf, thingOf } from "./proof.ts";
import type { PassThrough } from "./push/pass-through.ts";
import { discardBody, unwanted } from "./request-body.ts";
import { tracedOn } from "./request-identity.ts";
import type { Routed, Router, TagFilter, Target } from "./routing.ts";
import { actionOf, challengeTo, scopeNeeded, tokenQuery } from "./token/challenge.ts";
import { giveToken } from "./token/token-endpoint.ts";

export interface ServeOptions
  extends Omit<BlobHandlerOptions, "prefetch">,
    Omit<ManifestHandlerOptions, "prefetch"> {
  readonly prefetch?: Prefetch | undefined;
  readonly index: Pick<BlobIndex, "repositories">;
  readonly listings: Listings;
  readonly router: Router;
  readonly denied: DeniedDigests;
  /** Who may do what; left out: everybody may what the router allows. */
  readonly gate?: Gate | undefined;
  /** The places for answers that clients have open. */
  readonly answers: FairQueue;
  /** For some callers; left out: there are none. */
  readonly callerLimits?: CallerLimits | undefined;
  /** What passes writes on to an upstream. Left out, or undefined for an upstream: its writes are refused. */
  readonly push?: ((upstream: string) => PassThrough | undefined) | undefined;
  /** This node's name in the Via of its requests to upstreams. A request that carries it has come back to this node. */
  readonly pseudonym: string;
  readonly catalog: boolean;
  /** For which clients upstreams count as away; left out: for nobody. */
  readonly drill?: { readonly covers: (address: string) => boolean } | undefined;
  /** Tells whether a node of this datacenter asks; left out: whoever says so. */
  readonly nodeProof?: NodeProof | undefined;
  /** What other nodes may ask of this one itself; left out: nothing. */
  readonly nodeQuestions?: NodeQuestionsOptions | undefined;
  /** The other nodes, for the catalog; left out: there are none. */
  readonly neighbours?: Neighbours | undefined;
  /** The path below which clients reach this mirror, also of requests that come with it; "" when left out. */
  readonly basePath?: string;
  /** The status of /readyz; 404 while the node drains. */
  readonly readiness: () => 200 | 404 | 503;
  /** Called with errors that are bugs of this program. */
  readonly unexpected: (error: unknown) => void;
}

/**
 * Answers the request. Never rejects: whatever is thrown becomes an error answer, or a cut once an answer has begun.
 */
export function serve(exchange: Exchange, options: ServeOptions): Promise<void> {
  return inPlace(exchange, options, dispatch);
}

export type InPlaceOptions = Pick<ServeOptions, "answers" | "unexpected">;

/** Answers by `answer` once the client has a place among the open answers. As `serve`. */
export async function inPlace<Options extends InPlaceOptions>(
  exchange: Exchange,
  options: Options,
  answer: (exchange: Exchange, options: Options) => Promise<void> | void,
): Promise<void> {
  try {
    const place = isProbe(exchange.request.url) ? undefined : options.answers.enter(exchange.client);
    exchange.place = place;
    if (place !== undefined && !place.held) await granted(place);
    await answer(exchange, options);
  } catch (error) {
    if (exchange.closed) return;
    if (error instanceof ClientLeft) return exchange.leave();
    failWith(exchange, error);
    const { detail } = exchange.findings;
    if (detail?.includes(":")) options.unexpected(error);
  }
}

/** A node of this datacenter reads what it likes: it has judged its own caller before it asks. */
function dispatch(exchange: Exchange, options: ServeOptions): void | Promise<void> {
  if (answersItself(exchange, options.readiness)) return;
  const { gate, nodeProof } = options;
  // Node hands its connection over: it is refused wherever it comes from.
  if (gate !== undefined && exchange.request.method === "CONNECT") return refuseWrite(exchange);
  if (gate?.givesTokens) {
    const query = tokenQuery(targetOf(exchange, options));
    if (query !== undefined) return giveToken(exchange, gate, query);
  }
  if (exchange.header(peerHeader) === undefined) return judge(exchange, options);
  if (nodeProof !== undefined)
    return nodeProof.isNode(exchange.request).then((isNode) => {
      if (exchange.closed) throw new ClientLeft();
      if (isNode) exchange.findings.ofNode = true;
      const reads = exchange.request.method === "GET" || exchange.isHead;
      if (gate === undefined || !isNode || !reads) return judge(exchange, options);
      // A worker would take the grant for that of every client without a name.
      exchange.grantNothing();
      return answerTo(gate.admitNode(exchange.client), exchange, options);
    });
  exchange.findings.ofNode = true;
  return judge(exchange, options);
}

function judge(exchange: Exchange, options: ServeOptions): void | Promise<void> {
  const { gate } = options;
  if (gate === undefined) return limited(undefined, exchange, options);
  const admitted = gate.admit(exchange.header("authorization"), exchange.client, exchange.certified);
  if (admitted instanceof Promise) return admitted.then((each) => enter(each, gate, exchange, options));
  return enter(admitted, gate, exchange, options);
}

function enter(
  admitted: Admitted | NotAdmitted,
  gate: Gate,
  exchange: Exchange,
  options: ServeOptions,
): void | Promise<void> {
  if (exchange.closed) throw new ClientLeft();
  if (typeof admitted === "string") {
    const route = parseTarget(targetOf(exchange, options));
    const needed = scopeNeeded(route, exchange.request.method);
    const problem = admitted === "bad_token" ? "invalid_token" : undefined;
    const challenge = challengeTo(exchange, gate.tokenService, needed, problem);
    return refuseWrite(exchange, failureOfNotAdmitted(admitted, challenge));
  }
  const { name } = admitted.caller;
  exchange.findings.user = name;
  // No network has a space in its text.
  if (name !== undefined)
    exchange.onBehalfOf = { key: `user ${name}`, exempt: exchange.client.exempt, user: name };
  if (admitted.lasts !== undefined) exchange.grantsLast(admitted.lasts);
  return limited(admitted, exchange, options);
}

/** Within the limits that are for this caller. Throws OverRate. */
function limited(
  admitted: Admitted | undefined,
  exchange: Exchange,
  options: ServeOptions,
): void | Promise<void> {
  const { callerLimits } = options;
  if (callerLimits === undefined) return answerTo(admitted, exchange, options);
  const { client, onBehalfOf } = exchange;
  const caller = admitted?.caller ?? nobody(client.address);
  const limit = callerLimits.of(caller, onBehalfOf);
  exchange.limit = limit;
  if (limit?.rated !== true) return answerTo(admitted, exchange, options);
  // A worker would answer the next requests without anyone counting them.
  exchange.grantNothing();
  const turn = limit.request();
  const pacer = limit.pacer();
  if (pacer !== undefined) exchange.pace(pacer);
  if (turn === undefined) return answerTo(admitted, exchange, options);
  exchange.onOver(() => turn.leave());
  return turn.turn.then(() => {
    if (exchange.closed) throw new ClientLeft();
    return answerTo(admitted, exchange, options);
  });
}

/** `admitted`: who asks; undefined where nobody is asked. */
function answerTo(
  admitted: Admitted | undefined,
  exchange: Exchange,
  options: ServeOptions,
): void | Promise<void> {
  const { request } = exchange;
  const passed = passage(exchange.header("via"), options.pseudonym);
  if (passed.kind !== "passes") {
    readAway(exchange);
    if (passed.kind === "too_far") return fail(exchange, failures.tooFar);
    exchange.findings.detail = `circle ${passed.names.join(" ")}`;
    return fail(exchange, failureOfCircle(passed.names));
  }
  const target = targetOf(exchange, options);
  if (isNodeQuestion(target)) {
    readAway(exchange);
    return answerNode(exchange, target, options.nodeProof, options.nodeQuestions);
  }
  const route = parseTarget(target);
  if (typeof route !== "string") exchange.findings.route = routeKind(route);
  if (typeof route !== "string" && admitted?.access !== undefined)
    if (!isWithin(admitted.access, route, request.method)) return refuseScope(exchange, options, route);
  const reads = request.method === "GET" || request.method === "HEAD";
  if (!reads || (typeof route !== "string" && route.kind === "upload"))
    return write(admitted, exchange, options, route, passed.via);
  readAway(exchange);
  if (typeof route === "string") return fail(exchange, failureOfProblem(route));
  return read(admitted, exchange, options, route, passed.via);
}

/** Below this mirror's own path. */
function targetOf({ request }: Exchange, { basePath = "" }: ServeOptions): string {
  return belowBase(request.url ?? "", basePath);
}

/** Whether a token with these limits is enough. */
function isWithin(access: TokenAccess, route: Route, method: string | undefined): boolean {
  if (route.kind === "ping") return true;
  if (route.kind === "catalog") return access.allowsCatalog;
  return access.allows(actionOf(route, method), route.repository);
}

function refuseScope(exchange: Exchange, { gate }: ServeOptions, route: Route): void {
  const needed = scopeNeeded(route, exchange.request.method);
  const challenge = challengeTo(exchange, gate?.tokenService, needed, "insufficient_scope");
  refuseWrite(exchange, failureOfScope(challenge));
}

/** The rules do not let the caller do this. Whoever has no name where others have may have more rights with one. */
function forbid(
  exchange: Exchange,
  admitted: Admitted | undefined,
  options: ServeOptions,
  route: Route,
): void {
  if (admitted?.caller.name === undefined && options.gate?.tokenService !== undefined)
    refuseScope(exchange, options, route);
  else refuseWrite(exchange, failures.forbidden);
}

/** Answers a request that is malformed, or a probe. False for every other one, which is not answered yet. */
export function answersItself(
  exchange: Exchange,
  readiness: ServeOptions["readiness"],
  liveness: () => 200 | 503 = alive,
): boolean {
  const problem = malformation(exchange);
  if (problem !== undefined) {
    exchange.findings.detail = problem;
    readAway(exchange);
    fail(exchange, { ...failures.badRequest, headers: { connection: "close" } });
    return true;
  }
  const { url } = exchange.request;
  if (!isProbe(url)) return false;
  readAway(exchange);
  exchange.findings.probe = url === "/livez" ? "livez" : "readyz";
  probe(exchange, url === "/livez" ? liveness() : readiness());
  return true;
}

/** A process that answers is alive. */
function alive(): 200 {
  return 200;
}

/**
 * The reason to refuse the request with 400 and to close the connection; undefined when it is sound. Node's parser lets
 * these shapes through, and proxies and origins read them differently (docs/design.md, rule 5).
 */
function malformation({ request, acceptsChunks }: Exchange): string | undefined {
  let hosts = 0;
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  if (hosts > 1) return "more than one Host header";
  // HTTP/1.0 needs none, also where a worker asks for its client.
  if (hosts === 0 && acceptsChunks) return "no Host header";
  const coding = request.headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked")
    return "a transfer coding other than chunked";
  if (coding !== undefined && request.headers["content-length"] !== undefined) return "two body lengths";
  return undefined;
}

function routeKind(route: Route): RouteKind {
  if (route.kind !== "manifest") return route.kind;
  return route.reference.kind === "tag" ? "manifest_tag" : "manifest_digest";
}

/** Reads and drops the body of a request that needs none. */
export function readAway({ request, hasBody }: Exchange): void {
  if (hasBody) void discardBody(request, unwanted);
}

/** Asked by whoever watches this node; /healthz is another name of /readyz. It is answered even while other requests wait or are refused. */
export function isProbe(target: string | undefined): boolean {
  return target === "/livez" || target === "/readyz" || target === "/healthz";
}

const probed = { 200: "ok\n", 404: "draining\n", 503: "not ready\n" } as const;

function probe(exchange: Exchange, status: 200 | 404 | 503): void {
  exchange.findings.result = "hit";
  exchange.send(status, { "content-type": "text/plain", "cache-control": "no-store" }, probed[status]);
}

// ---- writes -------------------------------------------------------------------------------------------------------

async function write(
  admitted: Admitted | undefined,
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
  const cut = isDrilled(exchange, options) ? "drill" : upstream.cut;
  const account = target.passthrough ? admitted?.account : undefined;
  const caller = account?.credentials;
  if (account !== undefined && caller === undefined)
    return refuseWrite(exchange, failureOfNotAdmitted("unknown", basicChallenge));
  const passThrough = options.push?.(upstream.name);
  if (passThrough === undefined) return refuseWrite(exchange);
  findings.upstream = upstream.name;
  findings.repository = repository;
  findings.reference = writtenReference(route);
  // Where upstream alone knows what the caller may, it would have to be asked.
  if (cut !== undefined && (account !== undefined || !("repository" in route)))
    return refuseCut(exchange, cut);
  if (account !== undefined) {
    const failure = await accountFailure(account, upstream, route);
    if (exchange.closed) throw new ClientLeft();
    if (failure !== undefined) return refuseWrite(exchange, failure);
  }
  if (!("repository" in route)) return passThrough.handle(exchange, route, undefined, via, caller);
  const tagged = route.kind === "manifest" ? (route.tags ?? []) : [];
  const tagsAllowed = tagged.every((tag) => {
    const asked = options.router.route(
      { ...route, reference: { kind: "tag", tag } } as Route,
      exchange.header("host"),
    );
    return asked.kind === "routed" && asked.targets[0].allowed;
  });
  if (!allowed || !tagsAllowed || repository === undefined) return refuseWrite(exchange, failures.notAllowed);
  if (admitted !== undefined && !mayWrite(admitted, route, exchange.request.method, target))
    return forbid(exchange, admitted, options, route);
  if (cut !== undefined) return refuseCut(exchange, cut);
  const upstreamRoute = options.router.upstreamRoute(
    route,
    target,
    repository,
    exchange.header("host"),
    // Nobody knows which tags a blob belongs to.
    admitted && ((source) => mayMountFrom(admitted, route) && rightTo(admitted, "pull", source) === "all"),
  );
  await passThrough.handle(exchange, upstreamRoute, route.repository, via, caller);
  if (findings.upstreamStatus !== undefined && findings.upstreamStatus < 300)
    account?.rights.forgetRefusals();
}

function refuseCut(exchange: Exchange, cut: NonNullable<Upstream["cut"]>): void {
  exchange.findings.detail = cut;
  refuseWrite(exchange, failureOfCut(cut));
}

/** Why upstream is passed nothing of this caller: guesses are bounded, and no body is sent for somebody it does not know. */
async function accountFailure(
  account: OwnAccount,
  upstream: Upstream,
  route: Route,
): Promise<Failure | undefined> {
  const verdict = await account.check({
    scope: scopeOf(upstream, undefined),
    thing: "ping",
    ask: (credentials) => askForProof(upstream.forCaller(credentials), undefined, route),
  });
  return verdict === undefined ? undefined : failureOfVerdict(verdict, route);
}

/** Undefined for a right that is proved. */
function failureOfVerdict(verdict: Verdict, route: Route): Failure | undefined {
  if (verdict === "too_many") return failures.tooManyLogins;
  if (verdict.kind === "proved") return undefined;
  return failureOfRefusal(verdict, absences[route.kind] ?? failures.repositoryUnknown);
}

/** A request about an upload is part of a push, whatever its method: nothing that is there goes with it. */
function mayWrite(admitted: Admitted, route: Route, method: string | undefined, target: Target): boolean {
  const deletes = method === "DELETE" && route.kind !== "upload";
  const right = rightTo(admitted, deletes ? "delete" : "push", target);
  const tag = tagOf(route);
  // A digest takes every tag that it has along.
  if (deletes && tag === undefined) return right === "all";
  const more = route.kind === "manifest" ? (route.tags ?? []) : [];
  return covers(right, tag) && more.every((each) => covers(right, each));
}

/** As far as the caller's token says. */
function mayMountFrom({ access }: Admitted, route: Route): boolean {
  const from = route.kind === "upload" ? route.upload.from : undefined;
  return access === undefined || from === undefined || access.allows("pull", from);
}

function rightTo(admitted: Admitted, verb: Verb, { upstream, repository }: Target): Right {
  return repository === undefined ? "none" : admitted.right(verb, upstream.name, repository);
}

function isByDigest(route: Route): boolean {
  return route.kind === "manifest" && route.reference.kind === "digest";
}

function tagOf(route: Route): string | undefined {
  return route.kind === "manifest" && route.reference.kind === "tag" ? route.reference.tag : undefined;
}

function writtenReference(route: Route): string | undefined {
  if (route.kind === "manifest") return referenceText(route.reference);
  if (route.kind === "upload") return route.upload.mount ?? route.upload.digest;
  return route.kind === "blob" ? route.digest : undefined;
}

export function refuseWrite(exchange: Exchange, failure: Failure = failures.readOnly): void {
  readAway(exchange);
  fail(exchange, withoutBody(exchange, failure), "denied");
}

// ---- reads --------------------------------------------------------------------------------------------------------

function read(
  admitted: Admitted | undefined,
  exchange: Exchange,
  options: ServeOptions,
  route: Route,
  via: string | undefined,
): void | Promise<void> {
  const found = options.router.route(route, exchange.header("host"));
  if (found.kind === "unknown") return fail(exchange, failures.upstreamUnknown);
  const drilled = isDrilled(exchange, options);
  const routed = drilled ? { ...found, targets: drilledTargets(found.targets) } : found;
  const account = admitted?.account;
  const proving = account && toProve(routed.targets[0], route, options.router);
  if (account === undefined || proving === undefined)
    return readFrom(routed, admitted, exchange, options, route, via);
  const { findings } = exchange;
  findings.upstream = proving.name;
  const repository = "repository" in route ? routed.targets[0].repository : undefined;
  findings.repository = repository;
  const scope = scopeOf(proving, repository);
  const onlyCached = (route.kind === "blob" || isByDigest(route)) && wantsOnlyCached(exchange);
  // Without a question only what was proved before counts.
  const unasked = drilled ? drillError(proving.name) : onlyCached ? notCached(proving.name) : undefined;
  const verdict = unasked
    ? account.without(scope, unasked)
    : account.check({
        scope,
        thing: thingOf(route),
        ask: (credentials) => askForProof(proving.forCaller(credentials), repository, route),
      });
  const judged = (verdict: Verdict | undefined): void | Promise<void> => {
    if (exchange.closed) throw new ClientLeft();
    if (!mayRead(verdict, exchange, account, route)) return;
    return readFrom(boundTo(account, routed, exchange), admitted, exchange, options, route, via);
  };
  return verdict instanceof Promise ? verdict.then(judged) : judged(verdict);
}

/** Whether upstreams count as away for whoever asks: never for another node, which asks for a client of its own. */
function isDrilled({ client, findings }: Exchange, { drill }: ServeOptions): boolean {
  return drill?.covers(client.address) === true && findings.ofNode !== true;
}

function drilledTargets([first, ...rest]: Targets): Targets {
  const drilled = (target: Target): Target => ({ ...target, upstream: new DrilledUpstream(target.upstream) });
  return [drilled(first), ...rest.map(drilled)];
}

/** The upstream to which the right has to be proved; undefined: to none, or nothing is asked of it. */
function toProve(target: Target, route: Route, router: Router): Upstream | undefined {
  // Clients ask here whether they have to log in, whatever they want then.
  if (route.kind === "ping" && !target.passthrough) return router.passthrough;
  return target.passthrough && target.allowed ? target.upstream : undefined;
}

/** False when the caller has been answered: with upstream's refusal, or that there are no credentials. */
function mayRead(
  verdict: Verdict | undefined,
  exchange: Exchange,
  { rights }: OwnAccount,
  route: Route,
): boolean {
  if (verdict === undefined) {
    fail(exchange, failureOfNotAdmitted("unknown", basicChallenge), "denied");
    return false;
  }
  const failure = failureOfVerdict(verdict, route);
  if (verdict !== "too_many" && verdict.kind === "proved") exchange.grantsLast(rights.left(verdict));
  if (failure === undefined) return true;
  let result: Result = "denied";
  if (verdict !== "too_many" && verdict.kind !== "proved") {
    refused(exchange, verdict);
    result = exchange.findings.result;
    Object.assign(exchange.always, verdict.relayed);
  }
  fail(exchange, failure, result);
  return false;
}

/** The targets, of which the first is asked with the credentials of the account. */
function boundTo({ credentials, rights }: OwnAccount, routed: RoutedTo, exchange: Exchange): RoutedTo {
  const [first, ...rest] = routed.targets;
  if (credentials === undefined || !first.passthrough) return routed;
  exchange.onOver(() => credentials.leave());
  const { exempt } = exchange.client;
  exchange.onBehalfOf = { key: `account ${credentials.identity}`, exempt, user: exchange.findings.user };
  const { upstream, repository } = first;
  const bound: Target = {
    ...first,
    upstream: upstream.forCaller(credentials),
    refused: () => rights.doubt(credentials, scopeOf(upstream, repository)),
  };
  return { ...routed, targets: [bound, ...rest] };
}

function readFrom(
  routed: RoutedTo,
  admitted: Admitted | undefined,
  exchange: Exchange,
  options: ServeOptions,
  route: Route,
  via: string | undefined,
): void | Promise<void> {
  const { findings } = exchange;
  const reached = admitted === undefined ? routed.targets : within(routed.targets, route, admitted);
  if (reached === undefined) {
    findings.upstream = routed.targets[0].upstream.name;
    findings.repository = routed.targets[0].repository;
    return forbid(exchange, admitted, options, route);
  }
  const permitted = withoutDenied(reached, route, options.denied);
  const targets = forwardedBy(permitted, via, tracedOn(exchange.header("traceparent")));
  const [{ upstream }] = targets;
  findings.upstream = upstream.name;
  if (routed.namespace !== undefined) exchange.always["oci-namespace"] = routed.namespace;
  switch (route.kind) {
    case "ping":
      return ping(exchange);
    case "catalog":
      if (!options.catalog) return fail(exchange, failures.catalogOff);
      return handleCatalog(
        exchange,
        options,
        upstream,
        route.page,
        addressOf(exchange, route),
        admitted && ((repository) => mayList(admitted, targets[0], repository)),
      );
    case "tags":
      return askInTurn(exchange, targets, via, failures.repositoryUnknown, (remote, target) =>
        handleTags(
          exchange,
          options.listings,
          remote,
          route.page,
          addressOf(exchange, route),
          target.tagFilter,
          target.ofCaller,
        ),
      );
    case "manifest":
      findings.reference = referenceText(route.reference);
      return askInTurn(exchange, targets, via, failures.manifestUnknown, (remote) =>
        handleManifest(exchange, options, remote, route.reference),
      );
    case "blob":
      findings.reference = route.digest;
      return askInTurn(exchange, targets, via, failures.blobUnknown, (remote, target) =>
        handleBlob(exchange, options, remote, route.digest, target.tagFilter),
      );
    case "referrers":
      findings.reference = route.digest;
      return askInTurn(exchange, targets, via, failures.referrersUnknown, (remote) =>
        handleReferrers(exchange, options.listings, remote, route.digest, route.artifactType),
      );
    case "upload":
      return write(admitted, exchange, options, route, via);
  }
}

function addressOf({ basePath }: Exchange, route: Route & { readonly repository?: Repository }): ListAddress {
  return { ...route, basePath };
}

/**
 * Answered without asking upstream: docker waits 15 s for it, podman skips a mirror that fails it (docs/clients.md 1,
 * 2).
 */
function ping(exchange: Exchange): void {
  exchange.findings.result = "hit";
  const headers = { "content-type": "application/json", "docker-distribution-api-version": "registry/2.0" };
  exchange.send(200, headers, "{}");
}

function mayList(admitted: Admitted, { upstream, passthrough }: Target, repository: Repository): boolean {
  const { account } = admitted;
  if (account === undefined || !passthrough)
    return admitted.right("list", upstream.name, repository) !== "none";
  const { credentials, rights } = account;
  return credentials !== undefined && rights.holds(credentials, scopeOf(upstream, repository));
}

type RoutedTo = Extract<Routed, { readonly kind: "routed" }>;
type Ask = (remote: RemoteRepository, target: Target) => Promise<Outcome>;
type Targets = readonly [Target, ...Target[]];

/**
 * The targets up to the first that the caller may not read from; undefined when that is the first of all. What comes behind
 * it is left out as well: the same name may mean something else there, put there by anybody (dependency confusion).
 */
function within(targets: Targets, route: Route, admitted: Admitted): Targets | undefined {
  if (route.kind === "ping") return targets;
  if (route.kind === "catalog")
    return admitted.hasAny("list", targets[0].upstream.name) ? targets : undefined;
  const verb = route.kind === "tags" ? "list" : "pull";
  const tag = tagOf(route);
  const reached: Target[] = [];
  for (const target of targets) {
    const right = rightTo(admitted, verb, target);
    if (!covers(right, tag)) break;
    reached.push(typeof right === "string" ? target : narrowed(target, right));
  }
  const [first, ...rest] = reached;
  return first === undefined ? undefined : [first, ...rest];
}

function narrowed(target: Target, mayHave: TagFilter): Target {
  const { tagFilter } = target;
  const both = tagFilter === undefined ? mayHave : (tag: string) => tagFilter(tag) && mayHave(tag);
  return { ...target, tagFilter: both, ofCaller: true };
}

/** The targets. One whose only tags for the digest are denied is not allowed. */
function withoutDenied(targets: Targets, route: Route, denied: DeniedDigests): Targets {
  const digest = digestIn(route);
  if (digest === undefined || targets.every(({ tagFilter }) => tagFilter === undefined)) return targets;
  const judged = (target: Target): Target => {
    const { upstream, repository, allowed, tagFilter } = target;
    if (!allowed || repository === undefined || tagFilter === undefined) return target;
    return { ...target, allowed: !denied.denies({ upstream: upstream.name, repository }, digest, tagFilter) };
  };
  const [first, ...rest] = targets;
  return [judged(first), ...rest.map(judged)];
}

/** The digest a read asks for; undefined when it asks by tag, or for a list. */
function digestIn(route: Route): Digest | undefined {
  if (route.kind === "blob" || route.kind === "referrers") return route.digest;
  return route.kind === "manifest" && route.reference.kind === "digest" ? route.reference.digest : undefined;
}

/** The targets, whose upstreams are asked with the Via and the traceparent of this request. */
function forwardedBy(targets: Targets, via: string | undefined, traceparent: string | undefined): Targets {
  if (via === undefined && traceparent === undefined) return targets;
  const forwarded = (target: Target): Target => ({
    ...target,
    upstream: target.upstream.forwarding(via, traceparent),
  });
  const [first, ...rest] = targets;
  return [forwarded(first), ...rest.map(forwarded)];
}

/**
 * Asks one upstream after the other, as long as the configuration wants the next one asked after such a refusal or
 * failure. The last refusal or failure is the answer; an upstream behind the first that may not give what is asked for is
 * passed over. Once an answer has begun no other upstream is asked. When two mirrors are each other's `next`, the question
 * comes back as a loop: then the refusal or failure before it is the answer. A request that came without Via asks again
 * after a loop.
 */
async function askInTurn(
  exchange: Exchange,
  targets: Targets,
  via: string | undefined,
  absent: Failure,
  ask: Ask,
): Promise<void> {
  const { findings } = exchange;
  let answerBefore: (() => void) | undefined;
  let askedAgain: Target | undefined;
  for (let i = 0; i < targets.length; i++) {
    const target = targets[i] as Target;
    const { upstream, repository, allowed, onAbsent, onDenied, onFailure } = target;
    const last = i === targets.length - 1;
    if (i > 0 && (!allowed || repository === undefined)) {
      if (last || !onAbsent) return answerBefore?.();
      continue;
    }
    findings.upstream = upstream.name;
    findings.repository = repository;
    // News of this upstream alone would not reach a worker that has been granted another one's answer.
    if (i > 0) exchange.grantNothing();
    try {
      let outcome: Outcome | "not_allowed" = "not_allowed";
      if (allowed && repository !== undefined)
        outcome = await ask(remoteRepository(upstream, repository, exchange.onBehalfOf), target);
      if (outcome === "served") return;
      const { result } = findings;
      if (outcome !== "not_allowed" && outcome.kind === "denied") {
        if (outcome.blocked !== undefined) return refuseBlocked(exchange, outcome);
        target.refused?.();
      }
      const refuse = (): void => {
        if (outcome === "not_allowed") fail(exchange, failures.notAllowed, "denied");
        else {
          Object.assign(exchange.always, outcome.relayed);
          fail(exchange, failureOfRefusal(outcome, absent), result);
        }
      };
      const passesOn =
        outcome === "not_allowed" || outcome.kind === "absent" ? onAbsent : onDenied && isForbidden(outcome);
      if (last || !passesOn) return refuse();
      answerBefore = refuse;
    } catch (error) {
      if (exchange.headersSent || !(error instanceof UpstreamError)) throw error;
      // A question to upstream is shared by all requests that wait for it, and one of them may have come through mirrors:
      // then the loop is that request's, not this one's. In a real circle the second question ends in the same way.
      if (error.code === "loop" && via === undefined && askedAgain !== target) {
        askedAgain = target;
        i--;
        continue;
      }
      if (error.code === "loop" && (last || !onFailure) && answerBefore !== undefined) return answerBefore();
      if (last || !onFailure) throw error;
      answerBefore = () => {
        throw error;
      };
    }
  }
}

/** Another upstream is not asked for what this mirror gives to nobody. */
function refuseBlocked(exchange: Exchange, refusal: Refusal): void {
  exchange.findings.detail = "blocked";
  fail(exchange, failureOfRefusal(refusal, failures.notAllowed), "denied");
}

/** 403, or 401 for a repository: some registries say so of what is not there. */
function isForbidden(refusal: Refusal): boolean {
  return refusal.kind === "denied" && (refusal.status ?? 403) === 403;
}
