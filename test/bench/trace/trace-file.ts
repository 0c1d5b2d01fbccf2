// A recorded trace: a URI a line, in the order they were asked for, and the bytes that were sent behind it where they are known.
import { open } from "node:fs/promises";
import { drawnSize } from "./made-trace.ts";
import { ping, type Resource } from "./trace.ts";

export interface ReadTrace {
  readonly trace: readonly Resource[];
  /** Lines that ask neither for a manifest, nor for a blob, nor for `/v2/`: they are left out. */
  readonly others: number;
}

/** `/v2/<name>/manifests/<reference>` and `/v2/<name>/blobs/<digest>`, of any grammar: recorded names may be made unreadable. */
const resourceUri = /^\/v2\/(?<name>.+)\/(?<kind>manifests|blobs)\/(?!uploads\b)(?<last>[^/?]+)/;

/**
 * Reads a trace. A blob without a size gets one of those that the made trace has, always the same for the same digest.
 * Rejects when the file cannot be read, when a size is no number, or when nothing in it is asked for.
 */
export async function readTrace(file: string): Promise<ReadTrace> {
  const resources = new Map<string, Resource>();
  const repositories = new Map<string, number>();
  const contents = new Map<string, { readonly content: number; readonly size: number }>();
  const trace: Resource[] = [];
  let others = 0;
  let number = 0;

  const make = (uri: string, size: number | undefined): Resource | undefined => {
    if (/^\/v2\/?$/.test(uri)) return ping;
    const { name = "", kind, last = "" } = resourceUri.exec(uri)?.groups ?? {};
    if (kind === undefined) return undefined;
    const repository = numberOf(repositories, name);
    if (kind === "manifests") return { kind: "manifest", repository, reference: `t${resources.size}` };
    const known = contents.get(last) ?? { content: contents.size, size: size ?? drawnSize(contents.size) };
    contents.set(last, known);
    return { kind: "blob", repository, ...known };
  };

  await using handle = await open(file);
  for await (const line of handle.readLines()) {
    number += 1;
    const [uri = "", sizeText] = line.trim().split(/[\s,;]+/);
    if (sizeText !== undefined && sizeText !== "" && !/^\d+$/.test(sizeText))
      throw new Error(
        `${file}, line ${number}: ${sizeText} is no size in bytes; a line is a URI and, if known, its size`,
      );
    const resource = resources.get(uri) ?? make(uri, sizeText ? Math.max(1, Number(sizeText)) : undefined);
    if (resource === undefined) {
      others += 1;
      continue;
    }
    resources.set(uri, resource);
    trace.push(resource);
  }
  if (trace.length === 0)
    throw new Error(`${file}: no line of it is a URI such as /v2/team/app/blobs/sha256:…`);
  return { trace, others };
}

function numberOf(numbers: Map<string, number>, name: string): number {
  const number = numbers.get(name) ?? numbers.size;
  numbers.set(name, number);
  return number;
}
