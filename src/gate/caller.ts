// Who asks.

export interface Caller {
  /** As the directory has it; undefined: nobody has proved to be anybody. */
  readonly name: string | undefined;
  readonly groups: readonly string[];
  /** That of the client (http/client-address.ts). */
  readonly address: string;
}
