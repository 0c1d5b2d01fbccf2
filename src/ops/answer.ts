// Answers of the ops listener, and the parts of its API that answer requests for changes.
import type { IncomingMessage } from "node:http";

/** A whole answer. */
export interface OpsAnswer {
  readonly status: number;
  readonly body: string;
  /** Plain text when left out. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}

/** An answer, and what of it is for the line in the log (audit.ts). */
export interface ChangeAnswer extends OpsAnswer {
  readonly about?: readonly string[];
  readonly outcome?: string;
}

/** A part of the API that is asked for changes too. Who may ask is decided before. */
export interface ChangingApi {
  /** As a 404 names them. */
  readonly paths: readonly string[];
  has(path: string): boolean;
  /** Answers a request for one of its paths. Rejects with StoreError. */
  answer(path: string, request: IncomingMessage): Promise<ChangeAnswer>;
}

export function jsonAnswer(status: number, value: object): OpsAnswer {
  return { status, type: "application/json", body: `${JSON.stringify(value)}\n` };
}

/** What was wrong, and what to do about it; see apiError. */
export function failure(status: number, message: string): OpsAnswer {
  return { status, body: `${message}\n` };
}

export function onlyMethods(allow: string): OpsAnswer {
  return { ...failure(405, `only ${allow}`), headers: { allow } };
}

/** It may be asked again in ten seconds. */
export function later(message: string): OpsAnswer {
  return { ...failure(503, message), headers: { "retry-after": "10" } };
}
