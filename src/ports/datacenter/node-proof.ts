// How nodes of one datacenter prove themselves to each other: each question carries a signature made with a secret that all
// of them have. The secret itself is never sent: the addresses of the nodes come out of Redis, where anybody who can write
// there may put his own.
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { SecretSource } from "../secret.ts";
import { peerHeader } from "../shared.ts";

/** Header of a question by another node: the second it was asked in, a full stop, and its signature in base64url. */
export const proofHeader = "entrepot-node-proof";
/**
 * Seconds that the clocks of two nodes may be apart. For as long, whoever listens in between may ask the same node the same
 * question once more, whose answer he has seen.
 */
const tolerance = 60;
const grammar = /^(\d{1,12})\.([\w-]{43})$/;

/** What a signature is of. */
export interface NodeQuestion {
  /** Name of the node that asks. */
  readonly node: string;
  readonly method: string;
  /** Host and port as in the Host header: no other node can be asked with the signature. */
  readonly host: string;
  /** The raw target of the request line. */
  readonly target: string;
}

export class NodeProof {
  readonly #secret: SecretSource;
  readonly #clock: Clock;
  readonly #host: string | undefined;

  /**
   * `clock`: the time of day, in milliseconds since the epoch. `host`: the host, and port, at which other nodes ask this one;
   * left out: none does.
   */
  constructor(secret: SecretSource, clock: Clock, host?: string | undefined) {
    this.#secret = secret;
    this.#clock = clock;
    this.#host = host;
  }

  /** The value of `proofHeader` for a question that is asked now. */
  async sign(question: NodeQuestion): Promise<string> {
    const second = `${this.#second()}`;
    return `${second}.${(await this.#signature(second, question)).toString("base64url")}`;
  }

  /**
   * Whether a node with the same secret has asked this node this, at most a minute ago. What was asked of somebody else, who may
   * have had it sent to himself and passes it on, is no proof.
   */
  async verify(question: NodeQuestion, proof: string | undefined): Promise<boolean> {
    if (question.host !== this.#host) return false;
    const [, second = "", signature = ""] = grammar.exec(proof ?? "") ?? [];
    if (second === "" || Math.abs(this.#second() - Number(second)) > tolerance) return false;
    const given = Buffer.from(signature, "base64url");
    const wanted = await this.#signature(second, question);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }

  /** `verify` of a request as it came. */
  async isNode(request: ReceivedQuestion): Promise<boolean> {
    const { method = "", url = "", headers } = request;
    const [node, proof] = [headers[peerHeader], headers[proofHeader]];
    if (typeof node !== "string" || typeof proof !== "string") return false;
    return await this.verify({ node, method, host: headers.host ?? "", target: url }, proof);
  }

  #second(): number {
    return Math.floor(this.#clock() / 1_000);
  }

  async #signature(second: string, { node, method, host, target }: NodeQuestion): Promise<Buffer> {
    const secret = await this.#secret.read();
    // None of them can have a line break in it.
    const text = [second, node, method, host, target].join("\n");
    return createHmac("sha256", secret.reveal()).update(text).digest();
  }
}

/** The part of a request that a signature is of, and where it stands. */
export interface ReceivedQuestion {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: {
    readonly host?: string | undefined;
    readonly [name: string]: string | readonly string[] | undefined;
  };
}
