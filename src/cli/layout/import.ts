// `entrepot import`: images of an OCI image layout into a running mirror, through its ops listener.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { directorySource } from "../../layout/directory-source.ts";
import type { GivenPlace } from "../../layout/image-names.ts";
import { type ImportedImage, type ImportResult, importLayout } from "../../layout/import.ts";
import { LayoutError } from "../../layout/layout-error.ts";
import type { LayoutSource } from "../../layout/layout-source.ts";
import { tarSource } from "../../layout/tar-source.ts";
import { parseImageName } from "../../oci/image-name.ts";
import { parseTag } from "../../oci/name.ts";
import { count, size } from "../../ops/page/format.ts";
import type { PinReport } from "../../ops/pins/pin-report.ts";
import { type Context, exitCode } from "../context.ts";
import { askOps, noAnswer, type OpsPlace, type OpsPlaceOptions, OpsRefusal, opsPlace } from "../ops-place.ts";
import { noTarget, opsTarget } from "./ops-target.ts";
import { progressBar } from "./progress-bar.ts";

export interface ImportFlags extends OpsPlaceOptions {
  readonly upstream?: string;
  readonly repository?: string;
  readonly dryRun?: true;
  /** Left out: images of upstreams that are `offline`. */
  readonly pin?: boolean;
  readonly json?: true;
}

/** Milliseconds for a pin: the mirror looks at all manifests of the image. */
const pinPatience = 60_000;

/** Statuses with which a mirror says no to one thing, and not to the command. */
const refusals: readonly number[] = [400, 404, 409, 413, 507];

/** What is wrong with the command line. */
class Wrong extends Error {}

/**
 * Gives the exit code: 0 when all images are here, and pinned where they are to be, 1 when one is not (or the user has ended the
 * command), 2 for a wrong command line and when no mirror answers. Again it sends only what the mirror does not have.
 */
export async function importImages(from: string, options: ImportFlags, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const ends = new AbortController();
  const release = context.onSignal(() => ends.abort(new Error("interrupted")));
  try {
    return await run(from, options, place, context, ends.signal);
  } catch (error) {
    return failed(error, from, place, context, ends.signal);
  } finally {
    release();
  }
}

async function run(
  from: string,
  options: ImportFlags,
  place: OpsPlace,
  context: Context,
  signal: AbortSignal,
): Promise<number> {
  const given = givenBy(options);
  const { source, bytes } = await sourceOf(from, context);
  const bar = progressBar(context.terminal, bytes);
  let result: ImportResult;
  try {
    const target = options.dryRun === true ? noTarget : opsTarget(place, signal);
    result = await importLayout({ source, target, given, signal, progress: bar.show });
  } finally {
    bar.end();
  }
  let code: number = exitCode.done;
  for (const image of result.images) {
    const toPin = options.dryRun !== true && (options.pin ?? image.offline) && !isReferring(image);
    const pinned = toPin ? await pin(image, place) : undefined;
    if (pinned !== undefined && pinned.problem !== undefined) code = exitCode.failed;
    tellImage(image, pinned, options, context);
  }
  tellAll(result, from, options, context);
  return code;
}

function givenBy({ upstream, repository: text }: ImportFlags): GivenPlace {
  if (upstream === "") throw new Wrong("--upstream: expected the name of an upstream of the mirror");
  if (text === undefined) return { upstream };
  const name = parseImageName(text);
  const tag = name?.tag === undefined ? undefined : parseTag(name.tag);
  if (
    name === undefined ||
    name.host !== undefined ||
    name.digest !== undefined ||
    (name.tag !== undefined && tag === undefined)
  )
    throw new Wrong(
      `--repository: found ${JSON.stringify(text)}, expected one like team/app or team/app:1.0, by the name it has at the upstream`,
    );
  return { upstream, repository: name.repository, tag };
}

/** `bytes`: how many there are to read, about; undefined: nobody knows. */
async function sourceOf(
  from: string,
  { input }: Context,
): Promise<{ readonly source: LayoutSource; readonly bytes: number | undefined }> {
  if (from === "-") {
    if (input === undefined) throw new Wrong("-: there is no standard input, or it is a terminal");
    return { source: tarSource("the standard input", input() as Readable), bytes: undefined };
  }
  const found = await stat(from);
  if (found.isDirectory()) return { source: directorySource(from), bytes: undefined };
  const stream = createReadStream(from, { highWaterMark: 256 * 1024 });
  return { source: tarSource(from, stream), bytes: found.size };
}

// ---- pins -------------------------------------------------------------------------------------------------------

/** Of an image of which only some platforms were brought these are pinned: the mirror pins nothing whose parts it does not know. */
async function pin(image: ImportedImage, place: OpsPlace): Promise<{ readonly problem?: string }> {
  const { upstream, repository, tag, digest, whole, leftOut } = image;
  const names = leftOut > 0 ? whole.map((each) => `@${each}`) : [tag === null ? `@${digest}` : `:${tag}`];
  for (const name of names) {
    const body = { image: `${upstream}/${repository}${name}` };
    try {
      const { state } = (await askOps(place, "/api/v1/pins", pinPatience, {
        method: "POST",
        body,
      })) as PinReport;
      if (state === "over_budget" || state === "too_large")
        return {
          problem: `${body.image} is not pinned: ${state === "too_large" ? "too many parts" : "over pin.budget"}`,
        };
    } catch (error) {
      if (!(error instanceof OpsRefusal)) throw error;
      return { problem: error.message };
    }
  }
  return {};
}

/** It is held with the image it refers to. */
function isReferring({ tag }: ImportedImage): boolean {
  return tag !== null && /^sha(?:256|512)-[0-9a-f]{64}/.test(tag);
}

// ---- what is told -----------------------------------------------------------------------------------------------

function tellImage(
  image: ImportedImage,
  pinned: { readonly problem?: string } | undefined,
  { json, dryRun }: ImportFlags,
  { out, err }: Context,
): void {
  const { upstream, repository, tag, digest, leftOut, offline } = image;
  const isPinned = pinned !== undefined && pinned.problem === undefined;
  if (json) {
    const { problem = null } = pinned ?? {};
    out(`${JSON.stringify({ upstream, repository, tag, digest, leftOut, pinned: isPinned, problem })}\n`);
  } else {
    const name = `${upstream}/${repository}${tag === null ? `@${digest}` : `:${tag}  ${digest}`}`;
    const left = leftOut === 0 ? "" : `, without ${count(leftOut, "image")} of its index`;
    out(`${dryRun ? "would import" : "imported"} ${name}${left}${isPinned ? ", pinned" : ""}\n`);
  }
  if (pinned?.problem !== undefined)
    err(`entrepot: ${pinned.problem}${offline ? "; nothing brings it back once it is evicted" : ""}\n`);
}

function tellAll(result: ImportResult, from: string, { json, dryRun }: ImportFlags, { out }: Context): void {
  const { images, sent, sentBytes, kept } = result;
  if (json) {
    out(
      `${JSON.stringify({ from, images: images.length, sent, sentBytes, kept, dryRun: dryRun === true })}\n`,
    );
    return;
  }
  const blobs = dryRun
    ? `${count(kept, "blob")} checked`
    : `${count(sent, "blob")} sent (${size(sentBytes)}), ${kept} were there`;
  out(`${count(images.length, "image")}: ${blobs}\n`);
}

function failed(
  error: unknown,
  from: string,
  place: OpsPlace,
  { err }: Context,
  signal: AbortSignal,
): number {
  const { message, code } = error as NodeJS.ErrnoException;
  if (signal.aborted) {
    err("entrepot: interrupted: the same command sends what is still missing\n");
    return exitCode.failed;
  }
  if (error instanceof Wrong || ["ENOENT", "EACCES"].includes(code ?? "")) {
    err(`entrepot: ${message}\n`);
    return exitCode.usage;
  }
  if (error instanceof LayoutError) {
    err(`entrepot: ${from}: ${message}\n`);
    return error.code === "unnamed" ? exitCode.usage : exitCode.failed;
  }
  err(`entrepot: ${noAnswer(error, place)}\n`);
  return error instanceof OpsRefusal && refusals.includes(error.status) ? exitCode.failed : exitCode.usage;
}
