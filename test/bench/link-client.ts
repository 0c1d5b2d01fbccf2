// A client as a program of its own, for a network namespace the bench itself is not in. Takes the URLs of a manifest
// and of a layer, asks for the manifest as every client does first, and then pulls the layer and times it.
import { pathToFileURL } from "node:url";
import { manifestAccept } from "../../src/oci/media-type.ts";
import { download } from "../system/fixtures/download.ts";

/** What it prints about the layer, as one line of JSON. */
export interface LinkPull {
  readonly status: number;
  readonly bytes: number;
  readonly digest: string;
  /** Milliseconds from before the connection is opened to the first byte of the body. */
  readonly firstByte: number;
  /** Milliseconds from before the connection is opened to the last byte of the body. */
  readonly wall: number;
}

async function pull(url: URL): Promise<LinkPull> {
  const began = performance.now();
  const since = (): number => performance.now() - began;
  let firstByte: number | undefined;
  const onBytes = (): void => {
    firstByte ??= since();
  };
  const { status, bytes, digest } = await download(url.href, { onBytes }).done;
  const wall = since();
  return { status, bytes, digest, firstByte: firstByte ?? wall, wall };
}

async function main([manifest = "", layer = ""]: readonly string[]): Promise<void> {
  const answer = await fetch(manifest, { headers: { Accept: manifestAccept } });
  await answer.arrayBuffer();
  if (!answer.ok) throw new Error(`${manifest} answered ${answer.status}`);
  // Once for nothing, so that no code is loaded and compiled while it measures.
  await pull(new URL("/v2/", layer));
  console.log(JSON.stringify(await pull(new URL(layer))));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.argv.slice(2));
