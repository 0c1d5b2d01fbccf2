// nginx with proxy_cache before the registry: no registry's rules, no checking of digests; the yardstick of what a
// cache in C that sends files with sendfile costs. Settings as its documentation advises for a cache of large files.
import { join } from "node:path";
import { startNginx } from "./nginx-program.ts";
import type { Server, ServerOptions } from "./server.ts";

/**
 * nginx looks at the bound of its caches every ten seconds, and when the oldest of anything it keeps is to be forgotten: so
 * with answers that are kept for a second, every second.
 */
const pings = {
  cache: (directory: string) =>
    `proxy_cache_path ${join(directory, "pings")} keys_zone=pings:1m inactive=1s use_temp_path=off;`,
  location: "location = /v2/ { proxy_pass http://registry; proxy_cache pings; proxy_cache_valid 200 1s; }",
};

/** Resolves when it listens. */
export async function startNginxCache({
  upstream,
  directory,
  place,
  processes,
  room,
}: ServerOptions): Promise<Server> {
  const http = (listen: string): string => `
  sendfile on;
  tcp_nopush on;
  access_log ${join(directory, "access.log")};
  proxy_cache_path ${join(directory, "cache")} levels=1:2 keys_zone=registry:16m max_size=${room?.bytes ?? "50g"} inactive=7d use_temp_path=off;
  ${room ? pings.cache(directory) : ""}
  upstream registry {
    server ${upstream.host};
    keepalive 64;
  }
  server {
    listen ${listen} backlog=4096;
    # As the others, which never hang up on a client for having asked a thousand times.
    keepalive_requests 1000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_cache registry;
    proxy_cache_key $uri;
    # One request to the registry for a missing object, whoever asks meanwhile waits for all of it.
    proxy_cache_lock on;
    proxy_cache_lock_timeout 1h;
    proxy_cache_lock_age 1h;
    ${room ? pings.location : ""}
    location / { proxy_pass http://registry; proxy_cache_valid 200 60s; }
    location ~ /sha256:[0-9a-f]+$ { proxy_pass http://registry; proxy_cache_valid 200 7d; }
  }`;
  return await startNginx({ name: "nginx", directory, place, ...(processes && { processes }), http });
}
