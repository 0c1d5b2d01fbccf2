// What the program and its checkpoint thread say to each other.

/** What `gate` holds. Only the thread makes it `working`, only the program makes it `closed`. */
export const gateStates = { idle: 0, working: 1, closed: 2 } as const;

export interface CheckpointWork {
  /** URL of the database, as the program opened it. */
  readonly location: string;
  /** One of `gateStates`; shared. */
  readonly gate: Int32Array;
}

/** Answer to every message: the log's pages at the time, or why they could not be copied. */
export type CheckpointAnswer =
  | { readonly pages: number }
  | { readonly message: string; readonly errcode: number | undefined };
