// Lists of tags and referrers. Only upstream knows them, so they are never put together from what is here. Each is given
// again for some seconds, and kept on disk for when upstream fails: then the last one is given, marked as stale.
import { LRUCache } from "lru-cache";
import { type Digest, parseDigest } from "../oci/digest.ts";
import type { Page } from "../oci/route.ts";
import { tagPage } from "../oci/tag-page.ts";
import { allowed, refusalOf, type Verdicts } from "../ports/block/verdict.ts";
import { type Clock, type Pause, recordAge } from "../ports/clock.ts";
import type { NoticeSink, Result } from "../ports/event.ts";
import { deleteIn, keyIn, type Scope } from "../ports/scope.ts";
import { type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import {
  isRepositoryUnknown,
  type ReferrersAnswer,
  type Refusal,
  type TagsAnswer,
} from "../ports/upstream-answer.ts";
import type { KeptAnswers } from "./kept-answers.ts";
import { Revalidation } from "./revalidation.ts";

/** Bytes of lists in memory, with their keys, about. */
const memoryBytes = 32 * 1024 * 1024;
/** Milliseconds after which an answer that has not changed is written to disk again, with its new age. */
const rewriteAfter = 60_000;

export interface ListingsOptions {
  /** Milliseconds an answer is given without asking again. */
  readonly ttl: number;
  /**
   * Milliseconds past that in which a list of tags may still be given while upstream fails. A list of referrers may be
   * given for ever, as a manifest by digest may: clients ask for it with every pull (docker since 29.1).
   */
  readonly staleIfError: () => number;
  readonly kept: KeptAnswers;
  /** Asked for the subject of a list of referrers, and for everything in it. */
  readonly verdicts: Verdicts;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
}

export type Listed<Answer> =
  | {
      readonly kind: "found";
      readonly answer: Answer;
      readonly result: Extract<Result, "hit" | "miss" | "joined" | "stale">;
      /** Milliseconds since the registry gave it, and until upstream is asked again: below 0 when that is overdue. */
      readonly age: number;
      readonly freshFor: number;
      /** An older list was here when upstream was asked. */
      readonly outdated: boolean;
      /** Cache-Status of upstream's answer to this request. */
      readonly cacheStatus: string | undefined;
      /** Why it is stale. */
      readonly reason: UpstreamError | undefined;
    }
  | Refusal;

type Found = Extract<TagsAnswer | ReferrersAnswer, { kind: "found" }>;

/** An answer as it is remembered. */
interface Kept<Answer extends Found> {
  readonly answer: Answer | Extract<Refusal, { kind: "absent" }>;
  /** When the registry gave it, in milliseconds since the epoch. */
  readonly at: number;
}

/** One list that is asked for. */
interface Query<Answer extends Found> {
  readonly remote: RemoteRepository;
  /** Distinguishes the lists of a repository. */
  readonly key: string;
  /** The manifest it is about; undefined for tags. */
  readonly subject: Digest | undefined;
  readonly ask: () => Promise<Answer | Refusal>;
  readonly format: Format<Answer>;
  /** The list as another one that is kept has it. */
  readonly derived?: () => Kept<Answer> | undefined;
}

type Tags = Extract<TagsAnswer, { kind: "found" }>;
type Referrers = Extract<ReferrersAnswer, { kind: "found" }>;

/** How an answer is written to disk. */
interface Format<Answer extends Found> {
  write(answer: Answer): Buffer;
  /** Throws on bytes that are no such answer. */
  read(content: Buffer): Answer;
}

export class Listings {
  readonly #options: ListingsOptions;
  readonly #memory = new LRUCache<string, Kept<Found>>({
    maxSize: memoryBytes,
    sizeCalculation: ({ answer }, key) => 2 * key.length + sizeOf(answer),
  });
  readonly #revalidation: Revalidation<Found | Refusal>;

  constructor(options: ListingsOptions) {
    this.#options = options;
    this.#revalidation = new Revalidation({ clock: options.steady, pause: options.pause });
  }

  /**
   * A page is cut from the whole list where that is here: the whole is kept as well when upstream sent it although a page
   * was asked for, so that it is not sent for each page. Rejects with UpstreamError when upstream has to answer and cannot.
   */
  tags(remote: RemoteRepository, page: Page): Promise<Listed<Tags>> {
    const query = this.#tagsQuery(remote, page);
    const whole = this.#tagsQuery(remote, { n: undefined, last: undefined });
    if (query.key === whole.key) return this.#list(query);
    const id = keyIn(remote, whole.key);
    const ask = async (): Promise<Tags | Refusal> => {
      const answer = await query.ask();
      if (answer.kind !== "found" || answer.whole === undefined) return answer;
      const { whole: tags, ...part } = answer;
      this.#keep(id, whole, { ...part, tags, more: false }, this.#kept(id, whole));
      return part;
    };
    const derived = (): Kept<Tags> | undefined => {
      const kept = this.#kept(id, whole);
      // A repository that was absent may be there by now, and costs nothing to be asked for.
      if (kept === undefined || kept.answer.kind === "absent" || kept.answer.more) return undefined;
      return { at: kept.at, answer: { ...kept.answer, ...tagPage(kept.answer.tags, page) } };
    };
    return this.#list({ ...query, ask, derived });
  }

  #tagsQuery(remote: RemoteRepository, { n, last }: Page): Query<Tags> {
    const key = `tags/list?${new URLSearchParams({ n: String(n ?? ""), last: last ?? "" })}`;
    const ask = () => remote.registry.listTags(remote.repository, n, last);
    return { remote, key, subject: undefined, ask, format: tagsFormat };
  }

  /**
   * One entry for each artifact type asked for: a filtered list is not the whole one (docs/clients.md 51). When upstream
   * fails and no list is kept, the answer is `absent` if the manifest is known to be in the repository. Rejects with
   * UpstreamError otherwise. What may not be given out is not listed, and neither is what refers to it.
   */
  async referrers(
    remote: RemoteRepository,
    digest: Digest,
    artifactType: string | undefined,
  ): Promise<Listed<Referrers>> {
    const { verdicts } = this.#options;
    const verdict = verdicts.any ? await verdicts.manifest(remote, digest) : allowed;
    if (verdict.kind !== "allowed") return refusalOf(verdict);
    const listed = await this.#referrers(remote, digest, artifactType);
    if (!verdicts.any || listed.kind !== "found") return listed;
    const body = await withoutRefused(remote, listed.answer.body, verdicts);
    return { ...listed, answer: { ...listed.answer, body } };
  }

  #referrers(
    remote: RemoteRepository,
    digest: Digest,
    artifactType: string | undefined,
  ): Promise<Listed<Referrers>> {
    const key = referrersKey(digest, artifactType);
    const ask = () => remote.registry.listReferrers(remote.repository, digest, artifactType);
    return this.#list({ remote, key, subject: digest, ask, format: referrersFormat });
  }

  /**
   * A list of referrers that an operator has brought here: given when upstream does not answer, and asked for anew while it does.
   * It is kept once its subject is here and linked.
   */
  imported(scope: Scope, subject: Digest, body: Buffer): void {
    const { clock, ttl, kept } = this.#options;
    const key = referrersKey(subject, undefined);
    const answer = { kind: "found", body, filtersApplied: undefined } as const;
    const at = clock() - ttl;
    this.#memory.set(keyIn(scope, key), { answer, at });
    kept.put(scope, key, subject, { content: referrersFormat.write(answer), at });
  }

  /**
   * Something was pushed to the repository or deleted from it: its lists are asked for again, and stay on disk for when
   * upstream fails.
   */
  forget(scope: Scope): void {
    deleteIn(this.#memory, scope);
    const { kept, clock, ttl } = this.#options;
    kept.expire(scope, clock() - ttl);
  }

  async #list<Answer extends Found>(query: Query<Answer>): Promise<Listed<Answer>> {
    const { clock, ttl, staleIfError } = this.#options;
    const { remote, key, subject } = query;
    const id = keyIn(remote, key);
    // Those who are in a drill share no question with others.
    const question = remote.registry.cut === "drill" ? `${id} drill` : id;
    const kept = latest(this.#kept(id, query), query.derived?.());
    const known = kept === undefined ? 0 : recordAge(kept.at, clock());
    // An age that a wrong clock made unknown counts as one that has just ceased to be fresh.
    const age = known === Number.POSITIVE_INFINITY ? ttl : known;
    if (kept !== undefined && age < ttl) return repeated(kept.answer, "hit", age, ttl);
    const fetch = async (): Promise<Answer | Refusal> => {
      const answer = await query.ask();
      this.#keep(id, query, answer, kept);
      return answer;
    };
    const isBounded = subject === undefined && remote.registry.cut !== "offline";
    if (kept === undefined || (isBounded && age >= ttl + staleIfError())) {
      try {
        const { value, joined } = await this.#revalidation.fetch(question, fetch);
        return answered(value as Answer | Refusal, ttl, { joined, outdated: kept !== undefined });
      } catch (error) {
        if (subject === undefined || !(error instanceof UpstreamError)) throw error;
        return await this.#options.kept.unknown(remote, subject, error);
      }
    }
    const outcome = await this.#revalidation.refresh(question, fetch);
    if (outcome.kind === "answered")
      return answered(outcome.value as Answer | Refusal, ttl, { joined: outcome.joined, outdated: true });
    const { reason } = outcome;
    if (remote.registry.cut === undefined)
      this.#options.notices({
        kind: "stale_served",
        upstream: remote.upstream,
        repository: remote.repository,
        tag: "",
        ageMs: age,
        reason: reason.code,
      });
    return repeated(kept.answer, "stale", age, ttl, reason);
  }

  /** From memory, else from disk. */
  #kept<Answer extends Found>(id: string, query: Query<Answer>): Kept<Answer> | undefined {
    const held = this.#memory.get(id) as Kept<Answer> | undefined;
    if (held !== undefined) return held;
    const { remote, key, format } = query;
    const stored = this.#options.kept.get(remote, key);
    if (stored === undefined) return undefined;
    const { content, at } = stored;
    try {
      const kept: Kept<Answer> = {
        answer: content === undefined ? { kind: "absent" } : format.read(content),
        at,
      };
      this.#memory.set(id, kept);
      return kept;
    } catch {
      // Bytes that another version wrote: upstream is asked again.
      return undefined;
    }
  }

  /** An answer is as old here as at the mirror that gave it, so that the ages of a chain do not add up. A refusal is not kept. */
  #keep<Answer extends Found>(
    id: string,
    { remote, key, subject, format }: Query<Answer>,
    answer: Answer | Refusal,
    before: Kept<Answer> | undefined,
  ): void {
    const { clock, kept } = this.#options;
    if (answer.kind !== "found" && answer.kind !== "absent") {
      // What upstream refuses to one caller says nothing of what others may have.
      if (remote.registry.caller !== undefined) return;
      this.#memory.delete(id);
      kept.delete(remote, key);
      return;
    }
    const at = clock() - (answer.kind === "found" ? ageOf(answer) : 0);
    this.#memory.set(id, { answer, at });
    // That a repository is absent is not written to disk: clients can make up any number of names.
    if (answer.kind === "absent" && (subject === undefined || isRepositoryUnknown(answer)))
      kept.delete(remote, key);
    else if (
      before === undefined ||
      at - before.at >= rewriteAfter ||
      !sameAnswer(format, before.answer, answer)
    ) {
      const content = answer.kind === "found" ? format.write(answer) : undefined;
      kept.put(remote, key, subject, { content, at });
    }
  }
}

function referrersKey(digest: Digest, artifactType: string | undefined): string {
  return `referrers/${digest}?${new URLSearchParams({ artifactType: artifactType ?? "" })}`;
}

function latest<Answer extends Found>(
  a: Kept<Answer> | undefined,
  b: Kept<Answer> | undefined,
): Kept<Answer> | undefined {
  return a === undefined || (b !== undefined && b.at > a.at) ? b : a;
}

function sameAnswer<Answer extends Found>(
  { write }: Format<Answer>,
  before: Kept<Answer>["answer"],
  now: Kept<Answer>["answer"],
): boolean {
  if (before.kind === "absent" || now.kind === "absent") return before.kind === now.kind;
  return write(before).equals(write(now));
}

const tagsFormat: Format<Tags> = {
  write: ({ tags, more }) => Buffer.from(JSON.stringify({ tags, more })),
  read(content) {
    const { tags, more } = JSON.parse(content.toString()) as { tags: string[]; more: boolean };
    return { kind: "found", tags, more };
  },
};

/** The filters applied on a line of their own, then the index as upstream sent it. */
const referrersFormat: Format<Referrers> = {
  write: ({ body, filtersApplied }) => Buffer.concat([Buffer.from(`${filtersApplied ?? ""}\n`), body]),
  read(content) {
    const line = content.indexOf("\n");
    const filtersApplied = content.toString("latin1", 0, line) || undefined;
    return { kind: "found", body: content.subarray(line + 1), filtersApplied };
  },
};

/** The list without what may not be given out; the same bytes when that is all of it, or nothing can be told from them. */
async function withoutRefused(scope: Scope, body: Buffer, verdicts: Verdicts): Promise<Buffer> {
  const list = parsed(body);
  if (list === undefined) return body;
  const kept: unknown[] = [];
  for (const entry of list.manifests) {
    const digest = parseDigest(String((entry as { digest?: unknown } | null)?.digest));
    const verdict = digest === undefined ? allowed : await verdicts.manifest(scope, digest);
    if (verdict.kind === "allowed") kept.push(entry);
  }
  return kept.length === list.manifests.length
    ? body
    : Buffer.from(JSON.stringify({ ...list, manifests: kept }));
}

function parsed(body: Buffer): { readonly manifests: readonly unknown[] } | undefined {
  try {
    const list = JSON.parse(body.toString("utf8")) as { readonly manifests?: unknown } | null;
    return Array.isArray(list?.manifests) ? { ...list, manifests: list.manifests } : undefined;
  } catch {
    return undefined;
  }
}

/** An answer that upstream gave before. */
function repeated<Answer extends Found>(
  answer: Kept<Answer>["answer"],
  result: "hit" | "stale",
  age: number,
  ttl: number,
  reason?: UpstreamError,
): Listed<Answer> {
  if (answer.kind === "absent") {
    const { words } = answer;
    const said = words === undefined ? {} : { words };
    return { kind: "absent", negative: true, ...said, ...(reason === undefined ? {} : { reason }) };
  }
  return { ...given(answer, result, age, ttl), reason };
}

/** What upstream has just answered. `outdated`: an older answer was here. */
function answered<Answer extends Found>(
  answer: Answer | Refusal,
  ttl: number,
  { joined, outdated }: { readonly joined: boolean; readonly outdated: boolean },
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

function sizeOf(answer: Kept<Found>["answer"]): number {
  if (answer.kind === "absent") return 256 + 2 * (answer.words?.message.length ?? 0);
  // Tags take room in memory twice: as strings, and as the JSON made of them for clients.
  return (
    256 +
    ("tags" in answer ? answer.tags.reduce((sum, tag) => sum + 2 * tag.length + 19, 0) : answer.body.length)
  );
}
