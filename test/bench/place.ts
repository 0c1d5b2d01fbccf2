// Where a process of the bench runs: on which core, in which network namespace, on which address.

export interface Place {
  /** Command and arguments put before the program; each must end by executing the rest, so that the pid stays. */
  readonly prefix: readonly string[];
  /** IPv4 address the program listens on. */
  readonly address: string;
}

/** Loopback, on one core only, counted from 0. */
export function onCore(core: number): Place {
  return { prefix: ["taskset", "-c", String(core)], address: "127.0.0.1" };
}
