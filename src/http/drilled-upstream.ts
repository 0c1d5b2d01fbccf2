// An upstream as it counts for a client in a drill: it answers nothing, and is asked for nothing.
import type { CallerCredentials } from "../ports/caller-credentials.ts";
import { type Upstream, UpstreamError } from "../ports/upstream.ts";

export class DrilledUpstream implements Upstream {
  readonly name: string;
  readonly caller: CallerCredentials | undefined;
  readonly available = false;
  readonly cut = "drill";
  readonly segments = 1;
  readonly roundTrip = undefined;
  readonly spare = false;
  readonly allowance = 0;

  constructor({ name, caller }: Pick<Upstream, "name" | "caller">) {
    this.name = name;
    this.caller = caller;
  }

  forwarding(): Upstream {
    return this;
  }

  forCaller(caller: CallerCredentials | undefined): Upstream {
    return new DrilledUpstream({ name: this.name, caller });
  }

  checkAccount = (): Promise<never> => this.#silent();
  headManifest = (): Promise<never> => this.#silent();
  getManifest = (): Promise<never> => this.#silent();
  headBlob = (): Promise<never> => this.#silent();
  openBlob = (): Promise<never> => this.#silent();
  listTags = (): Promise<never> => this.#silent();
  listReferrers = (): Promise<never> => this.#silent();

  async #silent(): Promise<never> {
    throw drillError(this.name);
  }
}

export function drillError(upstream: string): UpstreamError {
  return new UpstreamError("drill", `upstream ${upstream} counts as away for this client: a drill is on`);
}
