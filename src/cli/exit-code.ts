// The exit codes, in one place for the commands and for --help.

export const exitCode = {
  /** Done; for `serve`: every transfer under way at the signal was finished. */
  done: 0,
  /** Failed to start, or transfers were cut. */
  failed: 1,
  /** The configuration or the command line is wrong: starting again will not help. */
  usage: 2,
} as const;
