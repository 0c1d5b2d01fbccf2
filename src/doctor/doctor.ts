// All checks of `entrepot doctor`, of a node and of a client. Parts that do not depend on each other are looked at at the same
// time; what is told keeps its order.
import type { Config, UpstreamConfig } from "../config/config.ts";
import { parseImageName, referenceOf } from "../oci/image-name.ts";
import { inLibrary, parseRepository } from "../oci/name.ts";
import { examineCache, processIn } from "./cache-directory.ts";
import { examineClientWays } from "./client-ways.ts";
import { type Check, doctorTimeout, ok, Part, skipped, warning } from "./examination.ts";
import { examineListeners } from "./listeners.ts";
import { examineMachine } from "./machine.ts";
import { examineNodes, examineSiblings } from "./nodes.ts";
import { examineUpstream, type Pulled, type PulledOrNot } from "./upstream.ts";

export interface DoctorOptions {
  /** Of an image: `[upstream/]repository:tag`, also with its registry before it; left out: what is pinned or warmed, if any. */
  readonly image?: string | undefined;
  /** Only this upstream, by name. */
  readonly upstream?: string | undefined;
  /** A mirror answers at opsListen. */
  readonly mirrorRuns: boolean;
  /** What is right in the configuration and likely not meant. */
  readonly warnings: readonly string[];
  readonly signal?: AbortSignal;
  /** Milliseconds for one check; left out: 15 s. */
  readonly timeout?: number;
}

/** Every check of a node. `told` gets those of a part once it and all before it are done. Never rejects. */
export async function examineNode(
  config: Config,
  options: DoctorOptions,
  told: (checks: readonly Check[]) => void = () => {},
): Promise<readonly Check[]> {
  const { mirrorRuns, warnings, timeout } = options;
  const signal = AbortSignal.any([
    AbortSignal.timeout(doctorTimeout),
    ...(options.signal === undefined ? [] : [options.signal]),
  ]);
  const part = (name: string): Part =>
    new Part({ name, signal, ...(timeout === undefined ? {} : { timeout }) });
  const upstreams = config.upstreams.filter(
    ({ name }) => options.upstream === undefined || name === options.upstream,
  );
  const redis = part("redis");
  const [alive, redisDone] = redisOf(redis, config);
  const running: [Part, Promise<void>][] = [
    run(part("configuration"), (part) => tellWarnings(part, warnings)),
    run(part("machine"), async (part) =>
      examineMachine(part, {
        workers: config.workers,
        pid: mirrorRuns ? await processIn(config.cache.dir) : undefined,
      }),
    ),
    run(part("listeners"), (part) => examineListeners(part, config, mirrorRuns)),
    run(part("cache"), (part) => examineCache(part, { cache: config.cache, mirrorRuns })),
    ...upstreams.map((upstream) =>
      run(part(`upstream ${upstream.name}`), (part) =>
        examineUpstream(part, upstream, pulledFrom(upstream, config, options.image)),
      ),
    ),
    [redis, redisDone],
    run(part("s3"), async (part) => {
      if (config.s3 === undefined)
        return void (await part.check("bucket", () => skipped("no s3 is configured")));
      const { examineS3 } = await import("./s3.ts");
      await examineS3(part, config.s3);
    }),
    run(part("nodes"), async (part) => {
      const addresses = new Set([...config.nodes, ...(await alive)]);
      addresses.delete(config.node.address ?? "");
      if (addresses.size === 0)
        await part.check("others", () => skipped("there are none, by nodes or by Redis"));
      await examineNodes(part, config, [...addresses]);
    }),
    run(part("siblings"), async (part) => {
      const { siblings = [] } = config;
      if (siblings.length === 0) await part.check("others", () => skipped("no siblings are configured"));
      await examineSiblings(part, siblings);
    }),
    run(part("clients"), async (part) => {
      await part.check("past the mirror", () =>
        skipped(
          "only a client can tell whether its network reaches the registry past the mirror: run there entrepot doctor --client URL-OF-THIS-MIRROR",
        ),
      );
    }),
  ];
  return await collected(running, told);
}

/** Every check of a client: the mirror, as one that pulls from it, and the ways around it. */
export async function examineClient(
  mirror: UpstreamConfig,
  options: Pick<DoctorOptions, "image" | "signal" | "timeout">,
  told: (checks: readonly Check[]) => void = () => {},
): Promise<readonly Check[]> {
  const { image, timeout } = options;
  const signal = AbortSignal.any([
    AbortSignal.timeout(doctorTimeout),
    ...(options.signal === undefined ? [] : [options.signal]),
  ]);
  const part = (name: string): Part =>
    new Part({ name, signal, ...(timeout === undefined ? {} : { timeout }) });
  const name = image === undefined ? undefined : parseImageName(image);
  const reference = name && referenceOf(name);
  const pulled: PulledOrNot =
    name === undefined || reference === undefined
      ? { missing: "no image is named: --image" }
      : { repository: name.repository, reference };
  return await collected(
    [
      run(part("mirror"), (part) => examineUpstream(part, mirror, pulled)),
      run(part("past the mirror"), (part) => examineClientWays(part, mirror, name?.host)),
    ],
    told,
  );
}

function run(part: Part, examine: (part: Part) => Promise<void>): [Part, Promise<void>] {
  return [part, examine(part)];
}

async function collected(
  running: readonly (readonly [Part, Promise<void>])[],
  told: (checks: readonly Check[]) => void,
): Promise<readonly Check[]> {
  const all: Check[] = [];
  const settled = running.map(([, done]) => done.catch((error: unknown) => error));
  for (const [at, [part]] of running.entries()) {
    const error = await settled[at];
    // A defect of the doctor is said, and ends no other part.
    if (error !== undefined)
      await part.check("doctor", () => {
        throw error;
      });
    told(part.checks);
    all.push(...part.checks);
  }
  return all;
}

/** The addresses of the nodes that are alive, and the end of the part. */
function redisOf(part: Part, { redis, node }: Config): [Promise<readonly string[]>, Promise<void>] {
  const examine = async (): Promise<readonly string[]> => {
    if (redis === undefined) {
      await part.check("connect", () => skipped("no redis is configured"));
      return [];
    }
    const { examineRedis } = await import("./redis.ts");
    return await examineRedis(part, redis, node);
  };
  const found = examine();
  return [found.catch(() => []), found.then(() => {})];
}

async function tellWarnings(part: Part, warnings: readonly string[]): Promise<void> {
  await part.check("settings", () => ok("they are right, as entrepot check has it"));
  for (const text of warnings)
    await part.check("doubtful", () => warning(text, "See what entrepot check says."));
}

/**
 * What is pulled from an upstream: the image that is named, if it is this upstream's; else the first that is pinned or
 * warmed by its name; else of Docker Hub its busybox.
 */
export function pulledFrom(
  upstream: Pick<UpstreamConfig, "name" | "url" | "library" | "namespaces">,
  config: Pick<Config, "pin" | "warm" | "upstreams">,
  image: string | undefined,
): PulledOrNot {
  if (image !== undefined) {
    const pulled = imageOf(upstream, config, image);
    return pulled ?? { missing: `${image} is not of this upstream` };
  }
  const named = [...(config.pin?.images ?? []), ...(config.warm ?? []).flatMap(({ images }) => images)];
  for (const each of named) {
    const pulled = each.includes("*") ? undefined : imageOf(upstream, config, each);
    if (pulled !== undefined) return pulled;
  }
  if (upstream.url.hostname === "registry-1.docker.io")
    return imageOf(upstream, config, `${upstream.name}/library/busybox:latest`) as Pulled;
  return { missing: "no image is named: --image REPOSITORY:TAG, or one that is pinned or warmed" };
}

function imageOf(
  { name, url, library, namespaces }: Pick<UpstreamConfig, "name" | "url" | "library" | "namespaces">,
  { upstreams }: Pick<Config, "upstreams">,
  text: string,
): Pulled | undefined {
  const image = parseImageName(text);
  const reference = image && referenceOf(image);
  if (image === undefined || reference === undefined) return undefined;
  const { host } = image;
  if (host !== undefined && host !== url.host && !namespaces.includes(host)) return undefined;
  const [first = "", ...rest] = image.repository.split("/");
  const isPrefixed = host === undefined && rest.length > 0 && upstreams.some((each) => each.name === first);
  if (isPrefixed && first !== name) return undefined;
  // Where nothing says which, it is the first upstream's.
  if (host === undefined && !isPrefixed && upstreams[0].name !== name) return undefined;
  const own = isPrefixed ? rest.join("/") : image.repository;
  const named = parseRepository(own);
  const repository = named && (inLibrary(named, library) ?? named);
  return repository && { repository, reference };
}
