// SIGHUP: the configuration is read again, and the running mirror takes it over.
import type { App } from "../app.ts";
import { changesBetween } from "../config/changes.ts";
import type { Config } from "../config/config.ts";
import type { Loaded, LoadResult } from "../config/load.ts";

export class Reloads {
  readonly #started: Loaded;
  readonly #load: () => LoadResult;
  #running: Loaded;
  #app: App | undefined;
  /** A signal has come, and nothing was read since. */
  #wanted = false;

  /** `started`: what the program was started with; `load` reads it again. */
  constructor(started: Loaded, load: () => LoadResult) {
    this.#started = started;
    this.#running = started;
    this.#load = load;
  }

  /** The one in use. */
  get config(): Config {
    return this.#running.config;
  }

  /** The mirror runs: signals that came before count now. */
  attach(app: App): void {
    this.#app = app;
    if (this.#wanted) this.#schedule();
  }

  /** The mirror ends: signals count no more. */
  detach(): void {
    this.#app = undefined;
  }

  /** Reads again, soon: signals that come before it has begun are one. */
  request(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    if (this.#app !== undefined) this.#schedule();
  }

  #schedule(): void {
    setImmediate(() => {
      this.#wanted = false;
      this.#reload();
    });
  }

  #reload(): void {
    const app = this.#app;
    if (app === undefined) return;
    const read = this.#load();
    if (!read.ok) {
      app.reload(read);
      return;
    }
    const changes = changesBetween(this.#started, this.#running, read);
    const { config, warnings } = read;
    if (app.reload({ ok: true, config, changes, warnings })) this.#running = read;
  }
}
