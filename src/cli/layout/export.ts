// `entrepot export`: images of a running mirror as an OCI image layout, in a directory or a tar. They are pulled through the mirror's
// registry API as by any client, so that what is not here is fetched, and what the account may not read is not given away; only the
// names of their upstreams are asked of the ops listener.
import { MirrorRegistry } from "../../app/images/mirror-registry.ts";
import { readText } from "../../config/read-text.ts";
import { DirectoryWriter } from "../../layout/directory-writer.ts";
import { type Exported, writeLayout } from "../../layout/export.ts";
import { ExportPlan, type WantedImage } from "../../layout/export-plan.ts";
import { LayoutError } from "../../layout/layout-error.ts";
import { TarWriter } from "../../layout/tar-writer.ts";
import { parseRepository } from "../../oci/name.ts";
import { type Platform, parsePlatform } from "../../oci/platform.ts";
import { parseReference } from "../../oci/reference.ts";
import { count, size } from "../../ops/page/format.ts";
import type { Explanation, StatsDocument } from "../../ops/stats/stats-document.ts";
import { realPause } from "../../ports/clock.ts";
import { Secret } from "../../ports/secret.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { type Context, exitCode } from "../context.ts";
import { askOps, noAnswer, type OpsPlace, type OpsPlaceOptions, opsPlace } from "../ops-place.ts";
import { trustSystemAuthorities } from "../system-authorities.ts";
import { progressBar } from "./progress-bar.ts";

export interface ExportFlags extends OpsPlaceOptions {
  readonly to: string;
  readonly platform?: readonly string[];
  readonly referrers?: true;
  /** Where clients pull from; what the mirror says when left out. */
  readonly mirror?: string;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly json?: true;
}

/** What is wrong with the command line. */
class Wrong extends Error {}

/**
 * Gives the exit code: 0 when all of every image is in the layout, 1 when something could not be had or written (or the user has
 * ended the command; the same command goes on from there), 2 for a wrong command line or reference and when no mirror answers.
 */
export async function exportImages(
  images: readonly string[],
  options: ExportFlags,
  context: Context,
): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const ends = new AbortController();
  const release = context.onSignal(() => ends.abort(new Error("interrupted")));
  try {
    return await run(images, options, place, context, ends.signal);
  } catch (error) {
    return failed(error, place, context, ends.signal);
  } finally {
    release();
  }
}

async function run(
  images: readonly string[],
  options: ExportFlags,
  place: OpsPlace,
  context: Context,
  signal: AbortSignal,
): Promise<number> {
  const { to, referrers = false, json = false } = options;
  const platforms = (options.platform ?? []).map(platformOf);
  const account = accountOf(options, context);
  const url = await mirrorOf(options, place);
  if (url.protocol === "https:") trustSystemAuthorities();
  const registry = new MirrorRegistry(url, account);
  try {
    const plan = new ExportPlan({ platforms, referrers });
    for (const image of images) {
      signal.throwIfAborted();
      await plan.add(await wantedImage(image, place, registry, url));
    }
    const writer = to.endsWith(".tar") ? new TarWriter(to) : new DirectoryWriter(to);
    const bar = progressBar(context.terminal, plan.bytes);
    let exported: Exported;
    try {
      exported = await writeLayout(plan, writer, { pause: realPause, signal, progress: bar.show });
    } finally {
      bar.end();
    }
    tell(plan, exported, to, json, context);
    return exitCode.done;
  } finally {
    await registry.close();
  }
}

function tell(plan: ExportPlan, exported: Exported, to: string, json: boolean, { out }: Context): void {
  const { written, kept, fetchedBytes } = exported;
  if (json) {
    for (const { image, digest, bytes, blobs, manifests } of plan.images)
      out(`${JSON.stringify({ image, digest, sizeBytes: bytes, blobs, manifests })}\n`);
    out(`${JSON.stringify({ to, images: plan.images.length, written, kept, fetchedBytes })}\n`);
    return;
  }
  for (const { image, digest, bytes } of plan.images) out(`${image}  ${digest}  ${size(bytes)}\n`);
  const were = kept === 0 ? "" : `, ${kept} were there`;
  out(`${count(plan.images.length, "image")} in ${to}: ${count(written, "blob")} written${were}\n`);
}

// ---- what is asked for ------------------------------------------------------------------------------------------

function platformOf(text: string): Platform {
  const platform = parsePlatform(text);
  if (platform === undefined)
    throw new Wrong(`--platform: found ${JSON.stringify(text)}, expected one like linux/amd64`);
  return platform;
}

function accountOf({ username, passwordFile }: ExportFlags, { readFile }: Context) {
  if (username === undefined && passwordFile === undefined) return undefined;
  if (username === undefined || passwordFile === undefined)
    throw new Wrong("--username and --password-file go together");
  const file = readText(passwordFile, readFile);
  if (!("text" in file)) throw new Wrong(`--password-file: ${passwordFile} cannot be read (${file.reason})`);
  return { username, password: new Secret(file.text.replace(/\r?\n$/, "")) };
}

async function mirrorOf({ mirror }: ExportFlags, place: OpsPlace): Promise<URL> {
  if (mirror === undefined) {
    const { node } = (await askOps(place, "/api/v1/stats")) as StatsDocument;
    return new URL(node.mirrorUrl);
  }
  const url = URL.parse(/^https?:\/\//.test(mirror) ? mirror : `http://${mirror}`);
  if (url === null)
    throw new Wrong(`--mirror: found ${JSON.stringify(mirror)}, expected one like mirror.example.com:5000`);
  return url;
}

/** The mirror itself says which upstream a reference is of, as to every command. */
async function wantedImage(
  image: string,
  place: OpsPlace,
  mirror: MirrorRegistry,
  url: URL,
): Promise<WantedImage> {
  const found = (await askOps(
    place,
    `/api/v1/why?${new URLSearchParams({ reference: image })}`,
    60_000,
  )) as Extract<Explanation, { kind: "explained" }>;
  const repository = parseRepository(found.repository);
  const reference = parseReference(found.reference);
  if (repository === undefined || reference === undefined)
    throw new Error(`the mirror takes ${image} for something else`);
  const pulled = found.dockerPull?.slice(0, -`/${repository}:${found.reference}`.length);
  return {
    image,
    remote: mirror.repository(found.upstream, repository),
    reference,
    host: pulled ?? `${url.host}/${found.upstream}`,
  };
}

// ---- what goes wrong --------------------------------------------------------------------------------------------

function failed(error: unknown, place: OpsPlace, { err }: Context, signal: AbortSignal): number {
  if (signal.aborted) {
    err("entrepot: interrupted: the same command goes on from there\n");
    return exitCode.failed;
  }
  const { message, code } = error as NodeJS.ErrnoException;
  if (error instanceof Wrong) {
    err(`entrepot: ${message}\n`);
    return exitCode.usage;
  }
  if (error instanceof UpstreamError) {
    err(`entrepot: the mirror does not give it: ${message}; --mirror says where clients pull from\n`);
    return error.code === "unreachable" || error.code === "auth" ? exitCode.usage : exitCode.failed;
  }
  if (error instanceof LayoutError) {
    err(`entrepot: ${message}\n`);
    return error.code === "occupied" ? exitCode.usage : exitCode.failed;
  }
  if (isOfDisk(code)) {
    err(`entrepot: ${message}\n`);
    return exitCode.failed;
  }
  err(`entrepot: ${noAnswer(error, place)}\n`);
  return exitCode.usage;
}

/** Of a file, and not of a connection. */
function isOfDisk(code: string | undefined): boolean {
  return [
    "ENOSPC",
    "EDQUOT",
    "EACCES",
    "EPERM",
    "EROFS",
    "EIO",
    "ENOTDIR",
    "EISDIR",
    "ENOENT",
    "EFBIG",
  ].includes(code ?? "");
}
