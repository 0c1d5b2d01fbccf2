// `npm run demo`: a far-away registry, the mirror in front of it, and pulls that show what the mirror saves.
// Everything runs in this process on 127.0.0.1; what is printed is measured while it happens.
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import { build } from "../app.ts";
import { type Address, type Config, plainUpstream } from "../config/config.ts";
import { size } from "../ops/page/format.ts";
import { fixedSecret, Secret } from "../ports/secret.ts";
import { createActivityLog } from "./activity.ts";
import { pullTogether } from "./fleet.ts";
import type { Architecture } from "./greeting-program.ts";
import type { LinkOptions } from "./link.ts";
import { explanation, introduction, invitation, type Scene } from "./narration.ts";
import { formatRatio, formatTable, formatTime, hitRatio, type Measured, totals } from "./report.ts";
import { makeSampleImages } from "./sample-images.ts";
import { type DemoUpstream, startDemoUpstream } from "./upstream.ts";

export interface DemoOptions {
  /** Ends after the pulls instead of waiting for the signal. */
  readonly once: boolean;
  /** Of the mirror, on 127.0.0.1; 0 takes any free port. */
  readonly port: number;
  /** Of the operations listener; when left out the port after the mirror's, any free one when that is 0. */
  readonly opsPort?: number | undefined;
  readonly print: (line: string) => void;
  /** Ends the demo. */
  readonly signal: AbortSignal;
  /** Where progress bars are drawn: a terminal, or undefined for none. */
  readonly terminal?: NodeJS.WritableStream | undefined;
}

/** A line between two data centers: far enough to feel, short enough to wait for. */
const link: LinkOptions = { roundTripMs: 40, bytesPerSecond: 12_500_000 };
const credentials = { username: "demo", password: "far-away" };
const repository = "team/app";
const fleetSize = 10;
/** The platform docker on this machine would ask for. */
const architecture: Architecture = arch() === "arm64" ? "arm64" : "amd64";

/** The pulls, one after another. */
const steps = [
  {
    name: "1.0 cold",
    tag: "1.0",
    clients: 1,
    text: `Cold: a machine pulls ${repository}:1.0, nothing is cached.`,
  },
  { name: "1.0 warm", tag: "1.0", clients: 1, text: `Warm: another machine pulls ${repository}:1.0.` },
  {
    name: "2.0 by a fleet",
    tag: "2.0",
    clients: fleetSize,
    text: `Roll-out: ${fleetSize} empty machines pull ${repository}:2.0 at once; its base layers are those of 1.0.`,
  },
];

interface Stage extends Scene {
  readonly upstream: DemoUpstream;
}

/**
 * Runs the demo and gives the exit code: 0 when every pull arrived whole (and, without `once`, the signal came),
 * 1 when something failed, 130 when the signal came before the pulls were done. Leaves no file and no listener.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { print, signal } = options;
  const printAll = (lines: readonly string[]): void => {
    for (const line of lines) print(line);
  };
  await using cleanup = new AsyncDisposableStack();
  try {
    const log = createActivityLog(print);
    const stage = await setUp(options, log, cleanup);
    printAll(introduction(stage));
    printAll(summary(await showPulls(stage, options)));
    if (options.once) return 0;
    printAll(invitation(stage));
    log.level = "info";
    if (!signal.aborted) await once(signal, "abort");
    print("Stopping.");
    return 0;
  } catch (error) {
    if (signal.aborted) return 130;
    print(explanation(error));
    return 1;
  }
}

async function setUp(options: DemoOptions, log: Logger, cleanup: AsyncDisposableStack): Promise<Stage> {
  const repositories = await makeSampleImages();
  const upstream = await startDemoUpstream({ repositories, ...credentials, link });
  cleanup.defer(() => upstream.stop());
  const cacheDirectory = await mkdtemp(join(tmpdir(), "entrepot-demo-"));
  cleanup.defer(() => rm(cacheDirectory, { recursive: true, force: true }));
  const app = build(demoConfig(upstream.url, cacheDirectory, options), { log });
  cleanup.defer(() => app.stop());
  const { listen, ops } = await app.start();
  const addresses = { registry: upstream.url, mirror: addressUrl(listen), ops: addressUrl(ops) };
  return { ...addresses, upstream, credentials, link, cacheDirectory, repository };
}

function demoConfig(url: URL, directory: string, { port, opsPort }: DemoOptions): Config {
  const nextPort = port === 0 ? 0 : port + 1;
  return {
    listen: { host: "127.0.0.1", port },
    opsListen: { host: "127.0.0.1", port: opsPort ?? nextPort },
    opsHosts: [],
    nodes: [],
    trustedProxies: [],
    node: { name: "demo", address: undefined },
    upstreams: [
      {
        ...plainUpstream("artifactory", url),
        // `docker pull busybox` of a docker that has the demo as registry mirror asks for library/busybox.
        library: "strip",
        auth: {
          kind: "basic",
          username: credentials.username,
          password: fixedSecret(new Secret(credentials.password)),
        },
      },
    ],
    cache: {
      dir: directory,
      maxSize: 1_000_000_000,
      evictTo: 0.9,
      smallBlob: 1_000_000,
      keepFree: 0,
      scrub: 0,
      rangesBeforeVerified: true,
      prefetch: 16_000_000,
    },
    tags: {
      ttl: 60_000,
      staleIfError: 7 * 86_400_000,
      refreshAhead: 0.5,
      staleWhileRevalidate: 0,
      rules: [],
    },
    workers: 1,
    teams: [],
    catalog: true,
    manifestsWithoutLayers: "serve",
    proofs: "own",
    cacheStatus: true,
    drainTimeout: 5_000,
    drainDelay: 0,
    log: { level: "silent", format: "json" },
    serverTiming: false,
    via: false,
  };
}

function addressUrl({ host, port }: Address): URL {
  return new URL(`http://${host}:${port}`);
}

async function showPulls(stage: Stage, options: DemoOptions): Promise<Measured[]> {
  const { print } = options;
  const done: Measured[] = [];
  for (const { text, ...step } of steps) {
    print(`${done.length + 1}. ${text}`);
    const measured = await pullTogether({ ...stage, ...options, ...step, architecture });
    const { received, ms, link: crossed } = measured;
    const ratio = formatRatio(hitRatio(received, crossed.bytes));
    print(`   ${size(received)} in ${formatTime(ms)}, every digest verified.`);
    print(
      `   Over the long link: ${size(crossed.bytes)} in ${crossed.requests} requests (byte hit ratio ${ratio}).`,
    );
    print("");
    done.push(measured);
  }
  return done;
}

function summary(done: readonly Measured[]): string[] {
  const { received, link: crossed } = totals(done);
  const sentence = `The clients received ${size(received)}; ${size(crossed.bytes)} of it crossed the link.`;
  return [...formatTable(done).map((line) => `  ${line}`), "", `  ${sentence}`, ""];
}
