// What is right and still likely not what somebody wants.
import { existsSync, statfsSync } from "node:fs";
import { isIPv4 } from "node:net";
import { dirname } from "node:path";
import type { Config, NotificationEndpointConfig, UpstreamConfig } from "./config.ts";
import { type Entry, problemAt, type UpstreamInput } from "./entry.ts";
import type { Problem } from "./problem.ts";

/** Warnings about an upstream; `input` is what `config` came from. */
export function upstreamWarnings({ entries }: UpstreamInput, { url, auth }: UpstreamConfig): Problem[] {
  if (url.protocol !== "http:") return [];
  const warnings: Problem[] = [];
  const warn = (entry: Entry | undefined, message: string): void => {
    if (entry !== undefined) warnings.push(problemAt(entry, message));
  };
  if (auth.kind !== "none" && !isLoopback(url.hostname))
    warn(
      entries.get("upstream.url"),
      "plain http: everybody on the way can read the credentials; use https if the registry has it",
    );
  const unused = entries.get("upstream.tls.cert") ?? entries.get("upstream.tls.serverName");
  warn(unused, "has no effect: the registry is asked over plain http");
  return warnings;
}

/** When the cache may become larger than its disk; looks at the directory, or the nearest above it that is there. */
export function cacheSizeWarning({
  directory,
  maxSize,
}: Pick<Config["cache"], "directory" | "maxSize">): string | undefined {
  let there = directory;
  while (!existsSync(there) && there !== dirname(there)) there = dirname(there);
  const { blocks, bsize } = statfsSync(there);
  const total = blocks * bsize;
  if (maxSize <= total) return undefined;
  return `cache.maxSize is ${maxSize} bytes, and the disk of ${directory} has only ${total}: it is filled up to its reserve (cache.keepFree)`;
}

/** Warnings about receivers of notifications; `entry` is what `endpoints` came from. */
export function endpointWarnings(
  entry: Entry | undefined,
  endpoints: readonly NotificationEndpointConfig[],
): Problem[] {
  return endpoints.flatMap(({ url, headers }, index) =>
    entry === undefined || url.protocol !== "http:" || headers.length === 0 || isLoopback(url.hostname)
      ? []
      : problemAt(
          entry,
          "plain http: everybody on the way can read the headers",
          `${entry.label}[${index}].url`,
        ),
  );
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."));
}
