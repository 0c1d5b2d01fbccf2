// What the commands need from the world. main.ts gives the real one, tests their own.
import type { Address, Config } from "../config/config.ts";
import type { ReadFile } from "../config/read-text.ts";
import type { Environment } from "../config/yaml.ts";

/** The running mirror, as far as the command line knows it. */
export interface RunningApp {
  /** Resolves when both listeners are open; rejects with a system error or a StoreError. */
  start(): Promise<{ readonly listen: Address; readonly ops: Address }>;
  /** Takes no new request and resolves when the last one under way has ended. No bound of its own. */
  drain(): Promise<void>;
  /** Ends everything at once. */
  stop(): Promise<void>;
  /** Says in the log what a signal that ends nothing has done. */
  heard(signal: string): void;
}

export interface DemoOptions {
  /** End after one round instead of serving until a signal. */
  readonly once: boolean;
  readonly port: number;
  readonly opsPort: number;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
  /** Where progress bars are drawn; undefined for none. */
  readonly terminal?: NodeJS.WritableStream | undefined;
}

/** Calls back at signals, with the signal's name, until the returned function is called. */
export type OnSignal = (listener: (name: string) => void) => () => void;

export interface Context {
  readonly version: string;
  readonly env: Environment;
  readonly readFile: ReadFile;
  /** Writes text as it is to the standard output, or to the standard error. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** SIGTERM and SIGINT. */
  readonly onSignal: OnSignal;
  /** SIGHUP, SIGUSR1 and SIGUSR2, which end nothing as long as somebody listens. */
  readonly onHarmlessSignal: OnSignal;
  /** The standard error when it is a terminal. */
  readonly terminal?: NodeJS.WritableStream | undefined;
  /** Makes the mirror; nothing runs before `start`. The one of app.ts when left out. */
  readonly build?: (config: Config) => RunningApp;
  /** Resolves to the exit code. The one of demo/demo.ts when left out. */
  readonly runDemo?: (options: DemoOptions) => Promise<number>;
}
