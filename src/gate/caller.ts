// Who asks.

export interface Caller {
  /** As the file of users has it; undefined: nobody has proved to be anybody. */
  readonly name: string | undefined;
  /** That of the client (http/client-address.ts). */
  readonly address: string;
}
