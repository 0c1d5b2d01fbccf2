// Whether the registries are there as the configuration says and take our account: for people at the start, and for the node
// itself all the time, so that one that nobody asks for anything knows as well.
import type { UpstreamConfig } from "../config/config.ts";
import type { Clock } from "../ports/clock.ts";
import type { Notice, NoticeSink, UpstreamTrouble } from "../ports/event.ts";
import { checkVersion } from "../upstream/version-check.ts";

/** Milliseconds an upstream has to be without an answer before it is asked for one. */
export const versionCheckInterval = 60_000;
/** Milliseconds between two checks of an account that was refused: some directories lock an account that is tried often. */
const refusedInterval = 15 * 60_000;

/**
 * One line for each upstream with which something is wrong, in their order; those that are `offline` are not asked. Asks all
 * of them at once, and each for half a minute at most. Rejects with the signal's reason only.
 */
export async function checkVersions(
  upstreams: readonly UpstreamConfig[],
  signal?: AbortSignal,
): Promise<string[]> {
  const asked = upstreams.filter(({ offline }) => offline !== true);
  const found = await Promise.all(asked.map((upstream) => checkUpstream(upstream, signal)));
  return found.flatMap((trouble) => (trouble === undefined ? [] : [trouble.message]));
}

/** As `checkVersion`; what cannot be asked at all is trouble, too. */
async function checkUpstream(
  upstream: UpstreamConfig,
  signal?: AbortSignal,
): Promise<UpstreamTrouble | undefined> {
  try {
    return await checkVersion(upstream, signal);
  } catch (error) {
    signal?.throwIfAborted();
    const reason = error instanceof Error ? error.message : error;
    return { code: "local", message: `upstream ${upstream.name} was not checked: ${reason}` };
  }
}

export interface VersionWatchOptions {
  /** Of now. */
  readonly upstreams: () => readonly UpstreamConfig[];
  /** Whether requests are sent to the upstream of that name: one that is probed already is not asked. */
  readonly available: (upstream: string) => boolean;
  readonly notices: NoticeSink;
  /** Only goes forward. */
  readonly steady: Clock;
  /** Ends the questions. */
  readonly signal: AbortSignal;
}

interface Watched {
  readonly config: UpstreamConfig;
  /** The upstream has given a good answer then, or was checked. */
  at: number;
  /** It has given content: that `/v2/` is no registry's means nothing then. */
  proved: boolean;
  /** The code of what was wrong; null before the first check. */
  trouble: string | undefined | null;
  checking: boolean;
}

/** Asks every upstream of which no good answer has come for a minute. A sink: it has to hear of answers. */
export class VersionWatch {
  readonly #options: VersionWatchOptions;
  readonly #watched = new Map<string, Watched>();

  constructor(options: VersionWatchOptions) {
    this.#options = options;
  }

  readonly onNotice = (notice: Notice): void => {
    if (notice.kind !== "upstream_request" || notice.type === "token" || notice.status >= 400) return;
    const watched = this.#watched.get(notice.upstream);
    if (watched === undefined) return;
    watched.at = this.#options.steady();
    watched.proved = true;
  };

  /** Resolves when all that were asked have answered, in half a minute at most; never rejects. */
  async look(): Promise<void> {
    const upstreams = this.#options.upstreams();
    for (const name of this.#watched.keys())
      if (!upstreams.some((upstream) => upstream.name === name)) this.#watched.delete(name);
    await Promise.all(upstreams.map((upstream) => this.#lookAt(upstream)));
  }

  async #lookAt(upstream: UpstreamConfig): Promise<void> {
    const { available, notices, steady, signal } = this.#options;
    const { name } = upstream;
    const watched = this.#of(upstream);
    const interval = watched.trouble === "auth" ? refusedInterval : versionCheckInterval;
    if (watched.checking || steady() - watched.at < interval || !available(name)) return;
    watched.checking = true;
    try {
      const found = await checkUpstream(upstream, signal);
      const trouble = found?.code === "no_registry" && watched.proved ? undefined : found;
      const changed = watched.trouble !== trouble?.code;
      watched.trouble = trouble?.code;
      notices({ kind: "upstream_check", upstream: name, trouble, changed });
    } catch {
      // The node is stopping.
    } finally {
      watched.at = steady();
      watched.checking = false;
    }
  }

  /** Anew when a reload has changed how it is asked. */
  #of(config: UpstreamConfig): Watched {
    const before = this.#watched.get(config.name);
    if (before?.config === config) return before;
    const at = Number.NEGATIVE_INFINITY;
    const watched: Watched = { config, at, proved: false, trouble: null, checking: false };
    this.#watched.set(config.name, watched);
    return watched;
  }
}
