// A client that pulls one image as docker does, as a program of its own for a network namespace the bench itself is not in:
// the manifest, then the config and, so many at a time, the layers in the order of the manifest.
//
//   image-client.ts BASE-URL REPOSITORY TAG LAYERS-AT-ONCE EVERY OPS-URL
//
// Of the layers it takes each EVERYth, as if it had the others. Then it asks the mirror how many were fetched ahead.
import { pathToFileURL } from "node:url";
import { manifestAccept } from "../../src/oci/media-type.ts";
import { eachAtOnce } from "../../src/ports/turns.ts";
import { download } from "../system/fixtures/download.ts";

/** What it prints, as one line of JSON. */
export interface ImagePull {
  /** Milliseconds from before the manifest is asked for to the last byte of the last blob. */
  readonly wall: number;
  /** Blobs that came whole and right, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  /** Layers that the mirror has fetched before they were asked for. */
  readonly ahead: number;
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

async function pull(
  base: string,
  repository: string,
  tag: string,
  atOnce: number,
  every: number,
): Promise<Omit<ImagePull, "ahead">> {
  const began = performance.now();
  const answer = await fetch(`${base}/v2/${repository}/manifests/${tag}`, {
    headers: { Accept: manifestAccept },
  });
  const { config, layers } = (await answer.json()) as { config: Descriptor; layers: Descriptor[] };
  let [blobs, bytes] = [0, 0];
  const one = async ({ digest, size }: Descriptor): Promise<void> => {
    const got = await download(`${base}/v2/${repository}/blobs/${digest}`).done;
    if (got.status !== 200 || got.digest !== digest || got.bytes !== size)
      throw new Error(`${digest}: status ${got.status}, ${got.bytes} bytes of ${got.digest}`);
    blobs++;
    bytes += got.bytes;
  };
  const wanted = layers.filter((_, at) => at % every === 0);
  await Promise.all([one(config), eachAtOnce(wanted, atOnce, one)]);
  return { wall: performance.now() - began, blobs, bytes };
}

async function layersAhead(ops: string): Promise<number> {
  const text = await (await fetch(new URL("/metrics", ops))).text();
  return Number(/^entrepot_prefetched_layers_total\{result="used"\} (\d+)$/m.exec(text)?.[1]);
}

async function main(args: readonly string[]): Promise<void> {
  const [base = "", repository = "", tag = "", atOnce, every, ops = ""] = args;
  // Once for nothing, so that no code is loaded and compiled while it measures.
  await (await fetch(`${base}/v2/`)).arrayBuffer();
  await download(`${base}/v2/`).done;
  const pulled = await pull(base, repository, tag, Number(atOnce), Number(every));
  console.log(JSON.stringify({ ...pulled, ahead: await layersAhead(ops) } satisfies ImagePull));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.argv.slice(2));
