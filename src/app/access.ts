// Who may do what on this node, made of the configuration: the gate that requests pass, and the file of users it goes by.
import { LRUCache } from "lru-cache";
import type { Logger } from "pino";
import type { AccessConfig, IssuerConfig, TokensConfig } from "../config/config.ts";
import { type AccessRule, AccessRules, forEverybody, verbs } from "../gate/access-rules.ts";
import type { Directory } from "../gate/directory.ts";
import { FileFirst } from "../gate/file-first.ts";
import { Gate, type GateTokens, type GateWorkloads } from "../gate/gate.ts";
import { HtpasswdFile } from "../gate/htpasswd-file.ts";
import { HtpasswdUsers, type Verify } from "../gate/htpasswd-users.ts";
import { LdapDirectory } from "../gate/ldap/ldap-directory.ts";
import { Passwords } from "../gate/passwords.ts";
import { ProvedRights } from "../gate/proved-rights.ts";
import { BearerTokens } from "../gate/token/bearer-tokens.ts";
import { proveForeign } from "../gate/token/foreign-tokens.ts";
import type { KeySet } from "../gate/token/key-set.ts";
import { OwnTokens } from "../gate/token/own-tokens.ts";
import { makeTokenKey } from "../gate/token/token-key.ts";
import { WorkloadIdentities, type WorkloadIssuer } from "../gate/token/workload-identities.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import { fixedSecret, type SecretSource } from "../ports/secret.ts";
import type { Prepared } from "./prepared.ts";
import { TokenKeys } from "./token-keys.ts";

export interface AccessOptions {
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
  readonly notices: NoticeSink;
  /** Called when who may log in has changed. */
  readonly changed: () => void;
}

/** Loaded only where there are users: its code is the machine's own, and made for the usual ones. */
const verify: Verify = async (password, hash) => (await import("@node-rs/bcrypt")).verify(password, hash);

/** Comparisons under way: half of the threads that Node has for files, too. */
const comparisons = 2;
/** Logins at a directory under way, and connections to each of its servers. With a file beside it all may be comparisons. */
const questions = { alone: 8, withFile: 4 };
/** Milliseconds in which the same trouble with a directory is told once. */
const toldEvery = 60_000;
/** Troubles that are remembered to have been told. */
const maxTold = 100;

export class Access {
  readonly #options: AccessOptions;
  #login: Login | undefined;
  #tokens: GateTokens | undefined;
  /** For as long as this process runs. */
  #ownKey: SecretSource | undefined;
  readonly #keys: TokenKeys;
  #proved: ProvedRights | undefined;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#keys = new TokenKeys({ log: options.log, clock: options.steady });
  }

  /** Rejects with the system's error where passwords cannot be checked on this machine. */
  async open(access: AccessConfig | undefined): Promise<void> {
    if (access?.htpasswd !== undefined) await import("@node-rs/bcrypt");
  }

  /** The gate of this configuration; undefined where everybody may everything. */
  prepare(access: AccessConfig | undefined): Prepared & { readonly gate: Gate | undefined } {
    const before = this.#login;
    const { htpasswd, ldap } = access ?? {};
    const isSame = before !== undefined && ldap === undefined && before.isOf(htpasswd?.path);
    const asks = htpasswd !== undefined || ldap !== undefined;
    const login = isSame
      ? before
      : asks
        ? new Login(access ?? {}, this.#options, () => this.#forget())
        : undefined;
    const rules = access && new AccessRules(rulesOf(access));
    const keysOf = access && this.#keys.of(access);
    const tokens =
      (access?.tokens && this.#tokensOf(access.tokens, login)) ??
      (access?.issuer && keysOf && this.#foreignTokensOf(access.issuer, keysOf(access.issuer)));
    const workloads = keysOf && access.workloads?.map((each) => ({ ...each, keys: keysOf(each) }));
    const { proofLifetime: lifetime } = access?.passthrough ?? {};
    const { steady: clock } = this.#options;
    const proved =
      lifetime === undefined ? undefined : (this.#proved ?? new ProvedRights({ lifetime, clock }));
    return {
      gate:
        rules &&
        new Gate({
          rules,
          passwords: login?.passwords,
          workloads: this.#workloadsOf(workloads),
          tokens,
          proved,
        }),
      apply: () => {
        this.#proved = proved;
        if (lifetime !== undefined) proved?.believeFor(lifetime);
        this.#login = login;
        this.#tokens = tokens;
        if (login === before) return;
        before?.close();
        login?.watch();
      },
      discard: () => {
        if (login !== before) login?.close();
      },
    };
  }

  #tokensOf({ key, lifetime, audience, realm }: TokensConfig, login: Login | undefined): GateTokens {
    const { clock, steady } = this.#options;
    this.#ownKey ??= fixedSecret(makeTokenKey());
    const own = new OwnTokens({
      key: key ?? this.#ownKey,
      audience,
      lifetime,
      stamp: (name) => login?.stamp(name),
      clock,
      steady,
    });
    const bearer = new BearerTokens({ prove: (token) => own.prove(token), clock, steady });
    return { bearer, service: { service: audience, realm }, own };
  }

  #foreignTokensOf({ issuer, audience, realm }: IssuerConfig, keys: KeySet): GateTokens {
    const { clock, steady } = this.#options;
    const prove = (token: string) => proveForeign(token, { issuer, audience, keys, clock });
    const bearer = new BearerTokens({ prove, clock, steady });
    return { bearer, service: { service: audience, realm }, own: undefined };
  }

  #workloadsOf(issuers: readonly WorkloadIssuer[] = []): GateWorkloads | undefined {
    const { clock, steady } = this.#options;
    if (issuers.length === 0) return undefined;
    const directory = new WorkloadIdentities({ issuers, clock, steady });
    const passwords = new Passwords({ directory, running: questions.alone, clock: steady });
    return { passwords, names: new Set(issuers.map(({ name }) => name)) };
  }

  /** Who may log in has changed. */
  #forget(): void {
    this.#tokens?.bearer.forget();
    this.#options.changed();
  }

  close(): void {
    this.#login?.close();
  }
}

/** Where another token server says what its callers may do, and there are no rules, that alone counts. */
function rulesOf({ issuer, rules }: AccessConfig): readonly AccessRule[] {
  return issuer === undefined || rules.length > 0 ? rules : [forEverybody(verbs)];
}

/** One file of users, one directory or both, and what is remembered of their logins. */
class Login {
  readonly passwords: Passwords;
  /** See Directory. */
  readonly stamp: (name: string) => string | undefined;
  readonly #path: string | undefined;
  readonly #file: HtpasswdFile | undefined;
  readonly #ldap: LdapDirectory | undefined;
  readonly #pause: Pause;
  readonly #closing = new AbortController();

  constructor(
    { htpasswd, ldap }: Partial<AccessConfig>,
    { log, steady, pause, notices }: AccessOptions,
    changed: () => void,
  ) {
    this.#path = htpasswd?.path;
    this.#pause = pause;
    const tell = seldom(steady, (problem: string) =>
      log.error({ problem }, "the directory of users: something is wrong"),
    );
    const isUsable = (usable: boolean): void => notices({ kind: "login_directory", usable });
    this.#ldap = ldap && new LdapDirectory(ldap, tell, isUsable);
    const users = htpasswd && new HtpasswdUsers(htpasswd.users, verify);
    const directory = directoryOf(users, this.#ldap);
    this.stamp = (name) => directory.stamp?.(name);
    this.passwords = new Passwords({
      directory,
      running: ldap === undefined ? comparisons : users === undefined ? questions.alone : questions.withFile,
      clock: steady,
    });
    this.#file =
      htpasswd &&
      new HtpasswdFile({
        ...htpasswd,
        changed: (next) => {
          users?.use(next);
          this.passwords.forget();
          changed();
          log.info({ users: next.size }, "the file of users has changed and is used from now on");
        },
        unusable: (problem) =>
          log.error({ problem }, "the file of users cannot be used: those read before stay"),
      });
  }

  /** Whether its users are those of the file, and of nothing else. */
  isOf(path: string | undefined): boolean {
    return this.#ldap === undefined && this.#path === path;
  }

  watch(): void {
    void this.#file?.watch(this.#pause, this.#closing.signal);
  }

  close(): void {
    this.#closing.abort();
    this.#ldap?.close();
  }
}

function directoryOf(users: HtpasswdUsers | undefined, ldap: LdapDirectory | undefined): Directory {
  if (users !== undefined && ldap !== undefined) return new FileFirst(users, ldap);
  const one = users ?? ldap;
  if (one === undefined) throw new TypeError("logins need users");
  return one;
}

/** Tells the same once in a while. */
function seldom(clock: Clock, tell: (problem: string) => void): (problem: string) => void {
  const told = new LRUCache<string, true>({
    max: maxTold,
    ttl: toldEvery,
    ttlResolution: 0,
    perf: { now: clock },
  });
  return (problem) => {
    if (told.has(problem)) return;
    told.set(problem, true);
    tell(problem);
  };
}
