// The public keys of those whose tokens are taken, from where the configuration says they are. A reload keeps those of an
// issuer that stays: it may be away just then.
import type { AccessConfig, KeysConfig } from "../config/config.ts";
import { KeySet } from "../gate/token/key-set.ts";
import { fetchJson } from "../outbound/json-document.ts";
import type { Clock } from "../ports/clock.ts";
import { userAgent } from "../version.ts";

/** Milliseconds for one document. */
const timeout = 5_000;

export interface TokenKeysOptions {
  readonly log: { warn(context: object, message: string): void };
  /** A steady one. */
  readonly clock: Clock;
}

export class TokenKeys {
  readonly #options: TokenKeysOptions;
  #sets: ReadonlyMap<string, KeySet> = new Map();

  constructor(options: TokenKeysOptions) {
    this.#options = options;
  }

  /** Those of every issuer in the configuration, by `issuer` and where its keys are. The first reading begins at once. */
  of({
    issuer,
    workloads = [],
    proxy,
  }: AccessConfig): (from: { issuer: string; keys: KeysConfig }) => KeySet {
    const sets = new Map<string, KeySet>();
    for (const each of [...(issuer === undefined ? [] : [issuer]), ...workloads]) {
      const id = idOf(each);
      // A file is another one after every reading of the configuration.
      const kept = each.keys.kind === "file" ? undefined : this.#sets.get(id);
      const set = sets.get(id) ?? kept ?? this.#make(each, proxy);
      sets.set(id, set);
      void set.prepare();
    }
    this.#sets = sets;
    return (from) => {
      const set = sets.get(idOf(from));
      if (set === undefined) throw new TypeError("keys of an issuer that is not configured");
      return set;
    };
  }

  #make(from: { readonly issuer: string; readonly keys: KeysConfig }, proxy: AccessConfig["proxy"]): KeySet {
    const { log, clock } = this.#options;
    const { issuer } = from;
    return new KeySet({
      load: () => load(from, proxy),
      isNear: from.keys.kind === "file",
      failed: (problem) =>
        log.warn(
          { issuer, problem },
          "the keys of an issuer of tokens cannot be read: those read before stay",
        ),
      clock,
    });
  }
}

function idOf({ issuer, keys }: { readonly issuer: string; readonly keys: KeysConfig }): string {
  return `${issuer} ${keys.kind} ${keys.kind === "url" ? keys.url.href : ""}`;
}

async function load(
  { issuer, keys }: { readonly issuer: string; readonly keys: KeysConfig },
  proxy: AccessConfig["proxy"],
): Promise<unknown> {
  const options = { proxy, userAgent, timeout };
  switch (keys.kind) {
    case "file":
      return JSON.parse((await keys.file.read()).reveal());
    case "url":
      return await fetchJson(keys.url, options);
    case "discovery":
      return await fetchJson(await discovered(issuer, options), options);
  }
}

/** OpenID Connect Discovery, section 4: the document has to be of this issuer, and must not lead out of TLS. */
async function discovered(issuer: string, options: Parameters<typeof fetchJson>[1]): Promise<URL> {
  const from = new URL(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  const document = Object(await fetchJson(from, options)) as { issuer?: unknown; jwks_uri?: unknown };
  if (document.issuer !== issuer) throw new Error(`${from.href} is that of another issuer`);
  const to = URL.parse(String(document.jwks_uri));
  if (to?.protocol !== "https:" && !(to?.protocol === "http:" && from.protocol === "http:"))
    throw new Error(`${from.href} names no place of keys that can be trusted`);
  return to;
}
