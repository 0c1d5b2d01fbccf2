// The registry behind all mirrors of the bench: anonymous, read only, and as cheap as can be, so that the machine is
// left to what is measured. nginx sends files; a map tells it each manifest's media type and digest.
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { FarRepository } from "./far-content.ts";
import { startNginx } from "./nginx-program.ts";
import type { Place } from "./place.ts";
import type { Server } from "./server.ts";

export interface FarRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** Bytes of the body that were written to the connection. */
  readonly bytes: number;
  /** Offset of the first byte that was asked for. */
  readonly from: number;
  /** Address of who asked. */
  readonly client: string;
}

export interface FarRegistry extends Server {
  /**
   * What has been asked and is over, oldest first, without the first `since` requests. Waits until 50 ms pass without
   * a request that ends.
   */
  asked(since?: number): Promise<readonly FarRequest[]>;
}

export interface FarRegistryOptions {
  readonly content: readonly FarRepository[];
  /** Empty; takes as many bytes as the content has. */
  readonly directory: string;
  readonly place: Place;
}

/** Writes the content and resolves when it is served. */
export async function startFarRegistry(options: FarRegistryOptions): Promise<FarRegistry> {
  const { content, directory, place } = options;
  const root = join(directory, "content");
  await mkdir(join(root, "v2"), { recursive: true });
  for (const repository of content) await writeRepository(root, repository);
  const log = join(directory, "asked.log");
  await writeFile(log, "");
  const http = (listen: string): string => httpBlock(listen, root, log, content);
  const server = await startNginx({ name: "far registry", directory, place, http });
  return { ...server, asked: async (since = 0) => (await settled(log)).slice(since) };
}

async function writeRepository(root: string, { name, manifests, tags, blobs }: FarRepository): Promise<void> {
  const bodies = new Map(manifests.map(({ digest, body }) => [digest, body]));
  for (const reference of [...bodies.keys(), ...Object.keys(tags)]) {
    const body = bodies.get(tags[reference] ?? reference);
    if (body === undefined) throw new Error(`${name}:${reference} names a manifest that is not there`);
    await write(join(root, "v2", name, "manifests", reference), [body]);
  }
  for (const blob of blobs) await write(join(root, "v2", name, "blobs", blob.digest), blob.chunks(0));
}

async function write(path: string, chunks: Iterable<Buffer>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await using file = await open(path, "w");
  for (const chunk of chunks) await file.write(chunk);
}

function httpBlock(listen: string, root: string, log: string, content: readonly FarRepository[]): string {
  const entries = content.flatMap(manifestEntries);
  return `
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  map_hash_bucket_size 512;
  map_hash_max_size 65536;
  log_format asked '$request_method $uri $status $body_bytes_sent $remote_addr $sent_http_content_range';
  access_log ${log} asked;
  map $uri $digest {
    ~/blobs/(?<blob>sha256:[0-9a-f]+)$ $blob;
${entries.map(({ path, digest }) => `    "${path}" ${digest};`).join("\n")}
  }
  map $uri $media {
    default application/octet-stream;
${entries.map(({ path, mediaType }) => `    "${path}" ${mediaType};`).join("\n")}
  }
  server {
    listen ${listen} backlog=4096;
    root ${root};
    etag off;
    types { }
    location = /v2/ {
      default_type application/json;
      add_header Docker-Distribution-Api-Version registry/2.0;
      return 200 "{}";
    }
    location ~ ^/v2/.+/(manifests|blobs)/ {
      # None of nginx's own, which would be a second one.
      default_type "";
      add_header Content-Type $media;
      add_header Docker-Distribution-Api-Version registry/2.0;
      add_header Docker-Content-Digest $digest;
      add_header ETag '"$digest"';
    }
  }`;
}

function manifestEntries({ name, manifests, tags }: FarRepository) {
  return manifests.flatMap(({ digest, mediaType }) => {
    const names = Object.keys(tags).filter((tag) => tags[tag] === digest);
    return [digest, ...names].map((reference) => ({
      path: `/v2/${name}/manifests/${reference}`,
      digest,
      mediaType,
    }));
  });
}

/** nginx writes its line right after the last byte, so a mirror's client may be a moment ahead of it. */
async function settled(log: string): Promise<readonly FarRequest[]> {
  for (let before = -1; ; ) {
    const text = await readFile(log, "utf8");
    if (text.length === before) return text.trim().split("\n").filter(Boolean).map(parseLine);
    before = text.length;
    await delay(50);
  }
}

function parseLine(line: string): FarRequest {
  const [method = "", path = "", status, bytes, client = "", , range = "0-"] = line.split(" ");
  return {
    method,
    path,
    status: Number(status),
    bytes: Number(bytes),
    from: Number.parseInt(range, 10),
    client,
  };
}
