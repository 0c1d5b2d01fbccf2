// A running mirror as its clients see it, for commands that pull through it: by its registry API, with the rights that the account
// they show has there.
import type { UpstreamAuth } from "../../config/config.ts";
import { plainUpstream } from "../../config/config.ts";
import type { Repository } from "../../oci/name.ts";
import type { Secret } from "../../ports/secret.ts";
import { fixedSecret } from "../../ports/secret.ts";
import { type RemoteRepository, remoteRepository } from "../../ports/upstream.ts";
import { createUpstream, type HttpUpstream } from "../../upstream/http-upstream.ts";

/** Milliseconds in which a blob that the mirror has to fetch first begins to come. */
const firstByteTimeout = 120_000;

/** A mirror may send its clients to the private storage its nodes share (`s3.redirectAbove`), as it does any of them. */
const redirectsTo = ["0.0.0.0/0", "::/0"];

export interface MirrorAccount {
  readonly username: string;
  readonly password: Secret;
}

export class MirrorRegistry {
  readonly #url: URL;
  readonly #account: MirrorAccount | undefined;
  readonly #upstreams = new Map<string, HttpUpstream>();

  /** `url`: as clients are given it; without an account it is asked as nobody. */
  constructor(url: URL, account: MirrorAccount | undefined) {
    this.#url = url;
    this.#account = account;
  }

  /** A repository of one of the mirror's upstreams, which its clients name by a path before the API's (http/routing.ts). */
  repository(upstream: string, repository: Repository): RemoteRepository {
    const known = this.#upstreams.get(upstream);
    const registry = known ?? this.#connect(upstream);
    this.#upstreams.set(upstream, registry);
    return remoteRepository(registry, repository);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#upstreams.values()].map((each) => each.close()));
  }

  #connect(upstream: string): HttpUpstream {
    const url = new URL(this.#url);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/${upstream}`;
    const { username, password } = this.#account ?? {};
    const auth: UpstreamAuth =
      username === undefined || password === undefined
        ? { kind: "none" }
        : { kind: "basic", username, password: fixedSecret(password) };
    const config = { ...plainUpstream(upstream, url), auth, firstByteTimeout, redirectsTo };
    return createUpstream(config, { notices: () => {} });
  }
}
