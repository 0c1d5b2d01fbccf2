// Listings of upstream, kept for some seconds: tags and referrers. They are upstream's to say, so they are never
// put together from what is here; when upstream fails, the last one is given and marked as stale.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import type { NoticeSink, Result } from "../telemetry/event.ts";
import type { Clock, Pause, Upstream, UpstreamError } from "./ports.ts";
import { Revalidation } from "./revalidation.ts";
import { flightKey } from "./single-flight.ts";
import type { ReferrersAnswer, Refusal, TagsAnswer } from "./upstream-answer.ts";

/** Bytes of listings kept, about. */
const memoryBytes = 16 * 1024 * 1024;

export interface ListingsOptions {
  /** Milliseconds a listing is given without asking again. */
  readonly ttl: number;
  /** Milliseconds past that it may still be given while upstream fails. */
  readonly staleIfError: number;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

export type Listed<Answer> =
  | {
      readonly kind: "found";
      readonly answer: Answer;
      readonly result: Extract<Result, "hit" | "miss" | "joined" | "stale">;
      /** Milliseconds since the registry said so, and until upstream is asked again: below 0 when that is overdue. */
      readonly age: number;
      readonly freshFor: number;
      /** An older one was here when upstream was asked. */
      readonly outdated: boolean;
      /** Cache-Status of upstream's answer to this request. */
      readonly cacheStatus: string | undefined;
      /** Why it is stale. */
      readonly reason: UpstreamError | undefined;
    }
  | Refusal;

type Found = Extract<TagsAnswer | ReferrersAnswer, { kind: "found" }>;

interface Kept {
  readonly answer: Found;
  readonly at: number;
}

export class Listings {
  readonly #options: ListingsOptions;
  readonly #kept = new LRUCache<string, Kept>({
    maxSize: memoryBytes,
    sizeCalculation: ({ answer }) => sizeOf(answer),
  });
  readonly #revalidation: Revalidation<Found | Refusal>;

  constructor(options: ListingsOptions) {
    this.#options = options;
    this.#revalidation = new Revalidation(options);
  }

  /** Rejects with UpstreamError when upstream has to answer and cannot. */
  tags(
    upstream: Upstream,
    repository: Repository,
    page: Page,
  ): Promise<Listed<Extract<TagsAnswer, { kind: "found" }>>> {
    const key = flightKey(upstream.name, repository, "tags", String(page.n), page.last ?? "");
    return this.#list(upstream, repository, key, () => upstream.listTags(repository, page.n, page.last));
  }

  /** One entry for each artifact type asked for: a filtered list is not the whole one (clients.md item 51). */
  referrers(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    artifactType: string | undefined,
  ): Promise<Listed<Extract<ReferrersAnswer, { kind: "found" }>>> {
    const key = flightKey(upstream.name, repository, "referrers", digest, artifactType ?? "");
    return this.#list(upstream, repository, key, () =>
      upstream.listReferrers(repository, digest, artifactType),
    );
  }

  /** Something was pushed to or deleted from the repository. */
  forget(upstream: string, repository: Repository): void {
    const start = flightKey(upstream, repository).slice(0, -1);
    for (const key of this.#kept.keys()) if (key.startsWith(`${start},`)) this.#kept.delete(key);
  }

  async #list<Answer extends Found>(
    upstream: Upstream,
    repository: Repository,
    key: string,
    ask: () => Promise<Answer | Refusal>,
  ): Promise<Listed<Answer>> {
    const { clock, ttl, staleIfError } = this.#options;
    const kept = this.#kept.get(key) as { answer: Answer; at: number } | undefined;
    const age = kept === undefined ? 0 : Math.max(0, clock() - kept.at);
    if (kept !== undefined && age < ttl) {
      return { ...given(kept.answer, "hit", age, ttl), reason: undefined };
    }
    const fetch = async (): Promise<Answer | Refusal> => {
      const answer = await ask();
      // As old here as at the mirror that said so: the ages of a chain do not add up.
      if (answer.kind === "found") this.#kept.set(key, { answer, at: clock() - ageOf(answer) });
      else this.#kept.delete(key);
      return answer;
    };
    if (kept === undefined || age >= ttl + staleIfError) {
      const { value, joined } = await this.#revalidation.fetch(key, fetch);
      return listed(value as Answer | Refusal, joined, ttl, kept !== undefined);
    }
    const outcome = await this.#revalidation.refresh(key, fetch);
    if (outcome.kind === "answered")
      return listed(outcome.value as Answer | Refusal, outcome.joined, ttl, true);
    const { reason } = outcome;
    this.#options.notices({
      kind: "stale_served",
      upstream: upstream.name,
      repository,
      tag: "",
      ageMs: age,
      reason: reason.code,
    });
    return { ...given(kept.answer, "stale", age, ttl), reason };
  }
}

function listed<Answer extends Found>(
  answer: Answer | Refusal,
  joined: boolean,
  ttl: number,
  outdated: boolean,
): Listed<Answer> {
  if (answer.kind !== "found") return answer;
  const found = given(answer as Answer, joined ? "joined" : "miss", ageOf(answer), ttl);
  return { ...found, outdated, cacheStatus: answer.cacheStatus, reason: undefined };
}

function given<Answer extends Found, How extends string>(
  answer: Answer,
  result: How,
  age: number,
  ttl: number,
) {
  return {
    kind: "found",
    answer,
    result,
    age,
    freshFor: ttl - age,
    outdated: false,
    cacheStatus: undefined,
  } as const;
}

/** Milliseconds. */
function ageOf({ age = 0 }: Found): number {
  return age * 1000;
}

function sizeOf(answer: Found): number {
  return (
    256 + ("tags" in answer ? answer.tags.reduce((sum, tag) => sum + tag.length + 16, 0) : answer.body.length)
  );
}
