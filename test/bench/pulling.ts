// What scenarios do before they measure: pull something, check every byte of it, and see that the mirror has it.
import { Agent, request } from "undici";
import { digestOf } from "../system/fixtures/content.ts";
import { type Downloaded, download } from "../system/fixtures/download.ts";
import { until } from "../system/fixtures/until.ts";
import type { FarRegistry, FarRequest } from "./far-registry.ts";
import type { Round } from "./round.ts";
import type { Server } from "./server.ts";

const agent = new Agent({ headersTimeout: 60_000, bodyTimeout: 60_000, keepAliveTimeout: 1 });

/** Pulls a manifest or a small blob whole and checks status, digest and, when given, media type. */
export async function pull(
  round: Round,
  server: Server,
  path: string,
  expected: { readonly digest: string; readonly mediaType?: string },
  authorization?: string,
): Promise<void> {
  const what = `${server.name}: ${path}`;
  const { statusCode, headers, body } = await request(new URL(path, server.url), {
    dispatcher: agent,
    headers: { accept: expected.mediaType ?? "*/*", ...(authorization && { authorization }) },
  });
  const bytes = Buffer.from(await body.arrayBuffer());
  round.equal(`status of ${what}`, statusCode, 200);
  round.equal(`digest of ${what}`, digestOf(bytes), expected.digest);
  if (expected.mediaType !== undefined)
    round.equal(`media type of ${what}`, headers["content-type"], expected.mediaType);
}

/** What a blob's first pull and every other one has to be. */
export interface ExpectedBlob {
  readonly path: string;
  readonly digest: string;
  readonly size: number;
}

/** Pulls a blob of any size and checks status, length and digest. */
export async function pullBlob(round: Round, server: Server, blob: ExpectedBlob): Promise<void> {
  const got = await download(new URL(blob.path, server.url).href).done;
  checkLength(round, server, blob, got);
  round.equal(`digest of ${server.name}: ${blob.path}`, got.digest, blob.digest);
}

/** Pulls it without hashing, for a measurement; checks status and length. */
export async function drainBlob(round: Round, server: Server, blob: ExpectedBlob): Promise<void> {
  checkLength(round, server, blob, await download(new URL(blob.path, server.url).href, { hash: false }).done);
}

function checkLength(round: Round, server: Server, { path, size }: ExpectedBlob, got: Downloaded): void {
  round.equal(`status of ${server.name}: ${path}`, got.status, 200);
  round.equal(`length of ${server.name}: ${path}`, got.bytes, size);
}

/**
 * Pulls a blob until the mirror has it, that is until a pull makes it fetch nothing: some store behind the client's
 * back. The first pull is checked. Rejects after 20 s.
 */
export async function land(
  round: Round,
  server: Server,
  far: FarRegistry,
  blob: ExpectedBlob,
): Promise<void> {
  await pullBlob(round, server, blob);
  let before = -1;
  await until(`${server.name} has ${blob.path}`, async () => {
    const now = fetchesOf(await far.asked(), blob).requests;
    if (now === before) return true;
    before = now;
    await drainBlob(round, server, blob);
    return false;
  });
}

/** How often upstream was asked for the bytes of these blobs, and how many it sent. */
export function fetchesOf(asked: readonly FarRequest[], ...blobs: readonly ExpectedBlob[]) {
  const paths = new Set(blobs.map(({ path }) => path));
  const fetches = asked.filter(({ method, path }) => method === "GET" && paths.has(path));
  return { requests: fetches.length, bytes: fetches.reduce((sum, { bytes }) => sum + bytes, 0) };
}
