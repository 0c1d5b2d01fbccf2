// A whole answer of the ops listener.
export interface OpsAnswer {
  readonly status: number;
  readonly body: string;
  /** Plain text when left out. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
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
