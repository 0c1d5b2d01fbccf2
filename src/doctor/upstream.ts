// One registry, from the proxy to a byte of a layer, with the connections, the login and the client the mirror has.
import { createHash } from "node:crypto";
import type { UpstreamConfig } from "../config/config.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, makeDigest } from "../oci/digest.ts";
import { readManifest } from "../oci/manifest.ts";
import type { Repository } from "../oci/name.ts";
import { type Reference, referenceText } from "../oci/reference.ts";
import type { UpstreamTrouble } from "../ports/event.ts";
import { UpstreamError } from "../ports/upstream.ts";
import type { BlobAnswer, Refusal } from "../ports/upstream-answer.ts";
import { makePseudonym } from "../ports/via.ts";
import { NobodyAsks } from "../upstream/auth/authorizer.ts";
import { Connections } from "../upstream/connection/connections.ts";
import { createUpstream, type HttpUpstream } from "../upstream/http-upstream.ts";
import { checkVersion, saysLocked } from "../upstream/version-check.ts";
import { skewFinding } from "./clock-skew.ts";
import { type Finding, failed, ok, type Part, skipped, warning } from "./examination.ts";
import { askFirst, examineHops, type FirstAnswer, sentence, withoutName } from "./upstream-hops.ts";

/** Parts of a layer that are asked for at once, at most. */
const mostRanges = 4;

/** What is pulled. */
export interface Pulled {
  readonly repository: Repository;
  readonly reference: Reference;
}

/** `pulled` undefined, and why: nothing is pulled. */
export type PulledOrNot = Pulled | { readonly missing: string };

export async function examineUpstream(
  part: Part,
  config: UpstreamConfig,
  pulled: PulledOrNot,
): Promise<void> {
  if (config.offline === true) {
    await part.check("proxy", () => skipped("offline is set for it: it is asked for nothing"));
    return;
  }
  const connections = new Connections(config, makePseudonym());
  const first = askFirst(config, connections);
  try {
    await examineHops(part, config, first);
    let trouble: UpstreamTrouble | undefined;
    await part.check("/v2/", async (signal) => {
      trouble = await checkVersion(config, signal);
      return apiFinding(config, trouble);
    });
    await part.check("clock", async (signal) => clockFinding(await first(signal)), { alone: true });
    await part.check("auth", () => accountFinding(config, trouble));
  } finally {
    await connections.close();
  }
  await examinePull(part, config, pulled);
}

/** Of `trouble`, which everything about `/v2/` is: what has to do with who asks is told of the account. */
function apiFinding({ name }: UpstreamConfig, trouble: UpstreamTrouble | undefined): Finding {
  if (trouble === undefined || isOfAccount(trouble)) return ok("a registry answers");
  return failed(withoutName(trouble.message, name), apiFix(trouble.code));
}

function isOfAccount({ code, message }: UpstreamTrouble): boolean {
  return code === "auth" || /its token server /.test(message);
}

function apiFix(code: UpstreamTrouble["code"]): string {
  if (code === "no_registry") return "Set url of the upstream to the address below which /v2/ is.";
  if (code === "rate_limited") return "Wait; then give the mirror an account with a higher limit.";
  if (code === "server_error") return "Mend the registry, or the load balancer in front of it.";
  if (code === "timeout") return "See why the registry does not answer in time, or raise firstByteTimeout.";
  return "Check that a registry, and nothing else, answers at url.";
}

/** The account as the mirror sends it: by Basic, for a token, or what a program gives. */
function accountFinding({ auth, name }: UpstreamConfig, trouble: UpstreamTrouble | undefined): Finding {
  if (trouble !== undefined) return failed(withoutName(trouble.message, name), accountFix(trouble));
  if (auth.kind === "none")
    return skipped("no account is configured: what everybody may read shows when an image is pulled");
  return ok(auth.kind === "basic" ? `the account ${auth.username} is taken` : "the account is taken");
}

function accountFix({ code, message }: UpstreamTrouble): string {
  if (saysLocked(message))
    return "Have the account unlocked at the registry, and correct the password before it is locked again.";
  if (/tokenRealms/.test(message)) return "Add the token server's host to tokenRealms, if it is right.";
  if (/token server/.test(message) && code !== "auth")
    return "Let this machine reach the token server, or mend it: the registry takes nothing but its tokens.";
  if (code === "auth") return "Correct username and password (or their file) of the upstream.";
  return apiFix(code);
}

/** The registry's clock and ours. The header counts whole seconds, and the answer was under way. */
function clockFinding({ headers: { date }, at }: FirstAnswer): Finding {
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return skipped("the registry does not say what time it is");
  return skewFinding("the registry's", theirs, at);
}

// ---- a pull -------------------------------------------------------------------------------------------------------

async function examinePull(part: Part, config: UpstreamConfig, pulled: PulledOrNot): Promise<void> {
  const names = ["tag", "manifest", "range", "ranges", "referrers"];
  if ("missing" in pulled) {
    for (const name of names) await part.check(name, () => skipped(pulled.missing));
    return;
  }
  const upstream = createUpstream(config, { notices: () => {} });
  try {
    await examineImage(part, config, upstream, pulled);
  } finally {
    await upstream.close();
  }
}

async function examineImage(
  part: Part,
  config: UpstreamConfig,
  upstream: HttpUpstream,
  pulled: Pulled,
): Promise<void> {
  const { repository } = pulled;
  const asked = <T>(look: () => Promise<T>) => guarded(config, pulled, look);
  await part.check("tag", () =>
    asked(async () => {
      const head = await upstream.headManifest(repository, pulled.reference);
      if (head.kind !== "found") return refusal(head, pulled);
      return ok(`${textOf(pulled)} is ${head.digest ?? "there, its digest not said"}`);
    }),
  );
  const found = await part.check<ReadImage>("manifest", () => asked(() => checkManifest(upstream, pulled)));
  const layer = found?.layer;
  const noLayer = (): Finding => skipped("no manifest with a layer was read");
  await part.check("range", (signal) =>
    layer === undefined
      ? noLayer()
      : asked(async () => {
          const at = (layer.size ?? 2) > 1 ? 1 : 0;
          const answer = await firstBytes(upstream, repository, layer.digest, at, signal);
          return rangeFinding(answer, at, layer.digest);
        }),
  );
  await part.check(
    "ranges",
    (signal) =>
      layer === undefined
        ? noLayer()
        : asked(() => checkRanges(upstream, repository, layer, config.segments, signal)),
    { alone: true },
  );
  await part.check(
    "referrers",
    () =>
      found === undefined
        ? skipped("no manifest was read")
        : asked(() => checkReferrers(upstream, repository, found.digest)),
    { alone: true },
  );
}

interface ReadImage {
  readonly digest: Digest;
  readonly layer: Descriptor | undefined;
}

/** The manifest, and of an index one of its images: what it names has to be the bytes with that digest. */
async function checkManifest(upstream: HttpUpstream, { repository, reference }: Pulled) {
  let next: Reference = reference;
  let top: Digest | undefined;
  let bytes = 0;
  // An index, or one of indexes.
  for (let depth = 0; depth < 3; depth++) {
    const answer = await upstream.getManifest(repository, next);
    if (answer.kind === "oversize") {
      answer.discard();
      return warning("it is larger than 4 MiB", "Such a manifest is passed through and never cached.");
    }
    if (answer.kind !== "found") return refusal(answer, { repository, reference: next });
    const { body } = answer;
    bytes += body.length;
    const digest = digestOf(body, answer.digest);
    if (answer.digest !== undefined && answer.digest !== digest) return wrongBytes(answer.digest);
    if (next.kind === "digest" && next.digest !== digest) return wrongBytes(next.digest);
    top ??= digest;
    const manifest = readManifest(body, answer.mediaType);
    if (typeof manifest === "string")
      return failed(
        `what is sent is no manifest (${manifest})`,
        "Check with the registry what was pushed under this name.",
      );
    const child = manifest.children.find(({ role }) => role === "manifest");
    if (child === undefined) {
      const layer = manifest.blobs.find(({ role }) => role === "layer");
      const image: ReadImage = { digest: top, layer };
      return ok(`${bytes} bytes, as their digest says`, image);
    }
    next = { kind: "digest", digest: child.digest };
  }
  return failed("indexes in indexes, three deep", "Name an image that is less nested.");
}

function digestOf(body: Buffer, like: Digest | undefined): Digest {
  const algorithm = like?.startsWith("sha512:") === true ? "sha512" : "sha256";
  return makeDigest(algorithm, createHash(algorithm).update(body).digest("hex"));
}

function wrongBytes(digest: Digest): Finding {
  return failed(
    `what is sent does not have the digest ${digest}`,
    "Look for what changes answers on the way: a proxy, a scanner, or a damaged registry.",
  );
}

/** The answer with its body closed after the first chunk. */
async function firstBytes(
  upstream: HttpUpstream,
  repository: Repository,
  digest: Digest,
  at: number,
  signal: AbortSignal,
): Promise<BlobAnswer> {
  const ending = new AbortController();
  const either = AbortSignal.any([signal, ending.signal]);
  const answer = await upstream.openBlob(repository, digest, at, either, { to: at + 1 });
  if (answer.kind !== "found") return answer;
  for await (const _ of answer.body) break;
  ending.abort();
  return answer;
}

function rangeFinding(answer: BlobAnswer, at: number, digest: Digest): Finding {
  if (answer.kind !== "found")
    return failed(
      `the layer ${digest} is ${answer.kind === "absent" ? "not there" : "refused"}, though its manifest is`,
      "Check the registry's storage, and that the account may read layers.",
    );
  if (answer.offset !== at)
    return warning(
      "ranges are ignored: all of the layer is sent",
      "Have the registry, the CDN or the proxy in between pass on Range: until then transfers that break begin anew.",
    );
  return ok(`one byte of ${answer.size ?? "an unknown number of"} came`);
}

/** As a large blob is fetched in segments: several ranges of one layer at once. */
async function checkRanges(
  upstream: HttpUpstream,
  repository: Repository,
  { digest, size = 0 }: Descriptor,
  segments: number,
  signal: AbortSignal,
): Promise<Finding> {
  const count = Math.min(Math.max(2, segments), mostRanges, size);
  if (count < 2) return skipped("the layer is too small for two");
  const offsets = Array.from({ length: count }, (_, index) => Math.floor((index * size) / count));
  const answers = await Promise.allSettled(
    offsets.map((at) => firstBytes(upstream, repository, digest, at, signal)),
  );
  const bad = answers.filter(
    (answer, index) =>
      answer.status === "rejected" || answer.value.kind !== "found" || answer.value.offset !== offsets[index],
  );
  if (bad.length === 0) return ok(`${count} at once came`);
  const [reason] = bad.flatMap((each) =>
    each.status === "rejected" ? [(each.reason as Error).message] : [],
  );
  return warning(
    `of ${count} ranges at once ${bad.length} did not come as asked${reason === undefined ? "" : `: ${reason}`}`,
    segments > 1 ? "Set segments of the upstream to 1." : "Leave segments of the upstream at 1.",
  );
}

async function checkReferrers(
  upstream: HttpUpstream,
  repository: Repository,
  digest: Digest,
): Promise<Finding> {
  const answer = await upstream.listReferrers(repository, digest, undefined);
  if (answer.kind === "found") return ok("the registry has the API");
  return ok("the registry has no such API, or nothing to tell: clients then look for tags (sha256-...)");
}

/** What the questions about an image fail with, as a finding. */
async function guarded<T>(
  { name }: UpstreamConfig,
  pulled: Pulled,
  look: () => Promise<T>,
): Promise<T | Finding> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof NobodyAsks)
      return skipped("it is asked with the credentials of callers, and there is no account of its own");
    if (!(error instanceof UpstreamError)) throw error;
    return failed(withoutName(error.message, name), pullFix(error, pulled));
  }
}

function pullFix({ code, message }: UpstreamError, pulled: Pulled): string {
  const [, host] = /which redirected to (\S+),/.exec(message) ?? [];
  if (host !== undefined) return `Let this machine reach ${host}, where the registry keeps its layers.`;
  if (code === "redirect_refused")
    return "List that host under redirectsTo, if it is the registry's storage.";
  if (code === "server_error" && /storage/.test(message))
    return "Check the storage the registry sends downloads to: it refuses addresses the registry has signed.";
  if (code === "auth") return `Give an account that may read ${pulled.repository} to the upstream.`;
  if (code === "truncated") return "Look for what cuts connections: a proxy, a firewall, a load balancer.";
  if (code === "protocol") return "Check that the registry itself answers, and nothing in between.";
  return apiFix(code as UpstreamTrouble["code"]);
}

function refusal(answer: Refusal, pulled: Pulled): Finding {
  const words = answer.words === undefined ? "" : ` (${answer.words.message})`;
  if (answer.kind === "absent")
    return failed(`there is no ${textOf(pulled)}${words}`, "Name an image that is there with --image.");
  return failed(
    `${textOf(pulled)} is refused to our account${words}`,
    sentence(`give the account the right to read ${pulled.repository}`),
  );
}

function textOf({ repository, reference }: Pulled): string {
  return `${repository}${reference.kind === "tag" ? ":" : "@"}${referenceText(reference)}`;
}
