// What is told of blocked digests. Times in milliseconds since the epoch.

export interface BlockReport {
  readonly digest: string;
  readonly reason: string;
  /** A command, in all nodes; or the file of the node that is asked. Of both the command. */
  readonly origin: "command" | "file";
  /** When it was commanded, and on which node; null for the file's. */
  readonly blockedAt: number | null;
  readonly node: string | null;
  /** Configs, layers and manifests that are known to belong to it. */
  readonly knownParts: number;
}

export interface BlocksReport {
  readonly schema: 1;
  readonly at: number;
  readonly blocks: readonly BlockReport[];
}

/**
 * `done`: it holds there. `told`: it was said where that node looks, which nobody can ask. `unconfirmed`: it has not said so in time.
 * `away`: it was not there to be asked. The last two do it when they hear of it.
 */
export const blockNodeStates = ["done", "told", "unconfirmed", "away"] as const;

/** What has come of blocking a digest, or unblocking it. */
export interface BlockChange {
  readonly schema: 1;
  readonly digest: string;
  readonly blocked: boolean;
  readonly reason: string;
  readonly at: number;
  /** The file of the node that was asked has it: there it is blocked whatever is commanded. */
  readonly stillInFile: boolean;
  readonly nodes: readonly {
    readonly name: string;
    readonly self: boolean;
    readonly state: (typeof blockNodeStates)[number];
  }[];
}
