// Questions to the other nodes of the datacenter about themselves, on the listener of their clients. Each is signed: nobody
// else gets an answer.

import type { Digest } from "../oci/digest.ts";
import { parseRepository, type Repository, type Tag } from "../oci/name.ts";
import { fetchJson, fetchText } from "../outbound/json-document.ts";
import { type NodeProof, proofHeader } from "../ports/datacenter/node-proof.ts";
import {
  type HeardSummary,
  maxAsked,
  type NodeCommands,
  type NodeSummaries,
  type NodeSummary,
  nodePaths,
  type OtherNodes,
  type PulledImages,
} from "../ports/datacenter/nodes.ts";
import { toldPinsSchema } from "../ports/datacenter/pins-schema.ts";
import { pulledImagesSchema } from "../ports/datacenter/pulled-schema.ts";
import { type PageEnd, type ReportedPage, readReportedPage } from "../ports/datacenter/reported-images.ts";
import type { NodeSavings } from "../ports/datacenter/savings.ts";
import { nodeSavingsSchema } from "../ports/datacenter/savings-schema.ts";
import { readHeard } from "../ports/datacenter/summary-schema.ts";
import { toldStaysSchema } from "../ports/history/stays-schema.ts";
import type { TagStay } from "../ports/history/tag-history.ts";
import type { PinCommand } from "../ports/pins/pins.ts";
import type { Scope } from "../ports/scope.ts";
import { peerHeader } from "../ports/shared.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { originOf } from "./peers.ts";

/** Milliseconds for a whole answer. Nodes are near each other. */
const timeout = 1_000;
/** Of one that a job waits for, and that many images are looked at for. */
const pulledTimeout = 10_000;
/** Questions on behalf of clients that are under way to one node, at most. */
const maxUnderWay = 8;

export interface HttpNodesOptions {
  /** Name of this node, for the other's log. */
  readonly node: string;
  readonly proof: NodeProof;
  readonly userAgent: string;
  /** See `upstreamId` of ports/datacenter/upstream-id.ts; undefined: there is none of that name. */
  readonly upstreamId: (name: string) => string | undefined;
  /** Ends what is asked. */
  readonly signal: AbortSignal;
}

export class HttpNodes implements OtherNodes, NodeCommands {
  readonly #options: HttpNodesOptions;
  readonly #flights = new SingleFlight<unknown>();
  /** By address. */
  readonly #underWay = new Map<string, number>();

  constructor(options: HttpNodesOptions) {
    this.#options = options;
  }

  async summary(address: string): Promise<NodeSummary> {
    const { url, options } = await this.#question(address, nodePaths.summary);
    const text = await fetchText(url, options);
    const [heard] = readHeard([[0, text]]);
    if (heard === undefined) throw new Error(`${url.origin} says something else of itself, or too much`);
    return heard.summary;
  }

  async holding(address: string, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const query = new URLSearchParams({ digests: digests.slice(0, maxAsked).join(",") });
    const answer = await this.#shared(address, `${nodePaths.holding}?${query}`);
    const { digests: held } = answer as { readonly digests?: unknown };
    if (!Array.isArray(held)) throw new Error(`${address} does not say what it has`);
    // What was not asked is not believed.
    return new Set(digests.filter((digest) => held.includes(digest)));
  }

  async repositories(
    address: string,
    upstream: string,
    last: string | undefined,
    limit: number,
  ): Promise<readonly Repository[]> {
    const id = this.#options.upstreamId(upstream);
    if (id === undefined) throw new Error(`no upstream is called ${upstream}`);
    const query = new URLSearchParams({
      upstream: id,
      n: String(limit),
      ...(last === undefined ? {} : { last }),
    });
    const answer = await this.#shared(address, `${nodePaths.repositories}?${query}`);
    if (isUnknownName(answer)) return [];
    const { repositories } = answer as { readonly repositories?: unknown };
    if (!Array.isArray(repositories)) throw new Error(`${address} does not say what repositories it has`);
    const names = repositories.flatMap((name) =>
      typeof name === "string" ? (parseRepository(name) ?? []) : [],
    );
    return names.filter((name) => last === undefined || name > last).slice(0, limit);
  }

  async savings(address: string, month: string): Promise<NodeSavings> {
    const answer = await this.#shared(address, `${nodePaths.savings}?${new URLSearchParams({ month })}`);
    const { data } = nodeSavingsSchema.safeParse(answer);
    if (data === undefined) throw new Error(`${address} does not say what it has saved`);
    return data;
  }

  async pins(address: string): Promise<readonly PinCommand[]> {
    const { data } = toldPinsSchema.safeParse(await this.#shared(address, nodePaths.pins));
    if (data === undefined) throw new Error(`${address} does not say what is pinned`);
    return data.pins;
  }

  async tagStays(address: string, { upstream, repository }: Scope, tag: Tag): Promise<readonly TagStay[]> {
    const id = this.#options.upstreamId(upstream);
    if (id === undefined) throw new Error(`no upstream is called ${upstream}`);
    const query = new URLSearchParams({ upstream: id, repository, tag });
    const answer = await this.#shared(address, `${nodePaths.tagStays}?${query}`);
    if (isUnknownName(answer)) return [];
    const { data } = toldStaysSchema.safeParse(answer);
    if (data === undefined) throw new Error(`${address} does not say what it has seen the tag name`);
    return data.stays;
  }

  async pulled(address: string, days: number): Promise<PulledImages> {
    const answer = await this.#shared(address, `${nodePaths.pulled}?days=${days}`, pulledTimeout);
    const { data } = pulledImagesSchema.safeParse(answer);
    if (data === undefined) throw new Error(`${address} does not say what was pulled from it`);
    return data;
  }

  async reported(address: string, since: number, after: PageEnd | undefined): Promise<ReportedPage> {
    const from = after === undefined ? {} : { after: `${after.usedAt},${after.size},${after.digest}` };
    const query = new URLSearchParams({ since: String(Math.floor(since)), ...from });
    const page = readReportedPage(await this.#shared(address, `${nodePaths.reported}?${query}`));
    if (page === undefined) throw new Error(`${address} does not say what was pulled through it`);
    return page;
  }

  async command(address: string, path: string, query: URLSearchParams, timeout: number): Promise<unknown> {
    const { url, options } = await this.#question(address, `${path}?${query}`);
    return await fetchJson(url, { ...options, timeout });
  }

  /** The answer, of 200 or 404, to a question that a client has caused. */
  #shared(address: string, target: string, patience = timeout): Promise<unknown> {
    const ask = async (): Promise<unknown> => {
      const underWay = this.#underWay.get(address) ?? 0;
      if (underWay >= maxUnderWay) throw new Error(`${address} is being asked ${maxUnderWay} questions`);
      this.#underWay.set(address, underWay + 1);
      try {
        const { url, options } = await this.#question(address, target);
        return await fetchJson(url, { ...options, timeout: patience, absent: true });
      } finally {
        const left = (this.#underWay.get(address) ?? 1) - 1;
        if (left > 0) this.#underWay.set(address, left);
        else this.#underWay.delete(address);
      }
    };
    return this.#flights.run(`${address} ${target}`, ask).promise;
  }

  async #question(address: string, target: string) {
    const { node, proof, userAgent, signal } = this.#options;
    const url = new URL(target, originOf(address));
    const asked = { node, method: "GET", host: url.host, target: url.pathname + url.search };
    const headers = { [peerHeader]: node, [proofHeader]: await proof.sign(asked) };
    return { url, options: { userAgent, timeout, signal, headers } };
  }
}

/** Whether the node has no such upstream. Who takes this one for no node, or knows no such question, says another code. */
function isUnknownName(answer: unknown): boolean {
  const { errors } = (answer ?? {}) as { readonly errors?: readonly { readonly code?: unknown }[] };
  return Array.isArray(errors) && errors[0]?.code === "NAME_UNKNOWN";
}

/** Summaries where nodes are named by a list: each asks the others. */
export class AskedSummaries implements NodeSummaries {
  readonly #nodes: Pick<OtherNodes, "summary">;
  readonly #addresses: readonly string[];

  /** `addresses`: of the other nodes, at most 64. */
  constructor(nodes: Pick<OtherNodes, "summary">, addresses: readonly string[]) {
    this.#nodes = nodes;
    this.#addresses = addresses;
  }

  /** What this node is the others ask for themselves. */
  async exchange(): Promise<readonly HeardSummary[]> {
    const asked = this.#addresses.map(async (address) => {
      const summary = await this.#nodes.summary(address);
      return { summary: { ...summary, address }, ageMs: 0 };
    });
    const answers = await Promise.allSettled(asked);
    return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  }
}
