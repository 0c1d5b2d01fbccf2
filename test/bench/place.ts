// Where a process of the bench runs: on which cores, in which network namespace, on which address.

export interface Place {
  /** Command and arguments put before the program; each must end by executing the rest, so that the pid stays. */
  readonly prefix: readonly string[];
  /** IPv4 address the program listens on. */
  readonly address: string;
}

/** Loopback, on these cores only: a list as taskset takes it, such as `0` or `1-3`. */
export function onCores(cores: string): Place {
  return { prefix: ["taskset", "-c", cores], address: "127.0.0.1" };
}
