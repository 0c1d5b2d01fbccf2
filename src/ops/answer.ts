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
