// What the demo says besides its measurements: where everything is, what to try, and what went wrong.
import type { LinkOptions } from "./link.ts";

/** Where everything is. */
export interface Scene {
  /** The far-away registry, with its path. */
  readonly registry: URL;
  readonly credentials: { readonly username: string; readonly password: string };
  readonly link: LinkOptions;
  readonly mirror: URL;
  readonly ops: URL;
  readonly cacheDirectory: string;
  /** The one that is pulled. */
  readonly repository: string;
}

/** Said before the pulls. */
export function introduction({ registry, link, mirror, ops, cacheDirectory }: Scene): string[] {
  const megabits = Math.round((link.bytesPerSecond * 8) / 1e6);
  return [
    "Entrepôt demo: a registry that is far away, and the mirror beside its clients.",
    "",
    `  registry    ${registry}`,
    `              basic auth; behind a SIMULATED long link: ${link.roundTripMs} ms per request,`,
    `              ${megabits} Mbit/s shared by all connections. All numbers below are measured on it.`,
    `  mirror      ${mirror.origin}   cache ${cacheDirectory} (removed at the end)`,
    `  operations  ${ops.origin}`,
    "",
  ];
}

/** Said when the pulls are done and the mirror stays up. */
export function invitation({ registry, credentials, mirror, ops, repository }: Scene): string[] {
  const image = `${mirror.host}/${repository}:1.0`;
  const { username, password } = credentials;
  return [
    "The mirror stays up. Try it from another terminal on this machine:",
    "",
    `  docker pull ${image}`,
    `  docker run --rm ${image}`,
    `  podman pull --tls-verify=false ${image}`,
    `  docker pull ${mirror.host}/busybox        (not cached yet; the second time it is)`,
    `  docker pull busybox                       (with "registry-mirrors": ["${mirror.origin}"] in daemon.json)`,
    "",
    `  curl ${mirror.origin}/v2/_catalog`,
    `  curl ${mirror.origin}/v2/${repository}/tags/list`,
    `  curl ${ops.origin}/metrics`,
    `  curl -u ${username}:${password} ${registry}/v2/${repository}/tags/list`,
    "",
    "Ctrl-C ends the demo and removes the cache. Until then, every request to the mirror:",
    "",
  ];
}

/** One line for failures with a code, ours and the system's; anything else keeps its stack, as it is a bug. */
export function explanation(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (!("code" in cause && "port" in cause)) continue;
    const problem = { EADDRINUSE: "is taken", EACCES: "needs more rights" }[String(cause.code)];
    const remedy = "Choose others: npm run demo -- --port 5050 --ops-port 5051";
    if (problem !== undefined) return `Port ${cause.port} ${problem}. ${remedy}`;
  }
  if (!("code" in error) || error instanceof TypeError) return error.stack ?? error.message;
  const reason = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `The demo failed: ${error.message}${reason}.`;
}
