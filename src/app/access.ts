// Who may do what on this node, made of the configuration: the gate that requests pass, and the file of users it goes by.
import { LRUCache } from "lru-cache";
import type { Logger } from "pino";
import type { AccessConfig } from "../config/config.ts";
import { AccessRules } from "../gate/access-rules.ts";
import type { Directory } from "../gate/directory.ts";
import { FileFirst } from "../gate/file-first.ts";
import { Gate } from "../gate/gate.ts";
import { HtpasswdFile } from "../gate/htpasswd-file.ts";
import { HtpasswdUsers, type Verify } from "../gate/htpasswd-users.ts";
import { LdapDirectory } from "../gate/ldap/ldap-directory.ts";
import { Passwords } from "../gate/passwords.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { Prepared } from "./prepared.ts";

export interface AccessOptions {
  readonly log: Pick<Logger, "info" | "error">;
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
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

  constructor(options: AccessOptions) {
    this.#options = options;
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
    const login = isSame ? before : asks ? new Login(access ?? {}, this.#options) : undefined;
    const rules = access && new AccessRules(access.rules);
    return {
      gate: rules && new Gate({ rules, passwords: login?.passwords }),
      apply: () => {
        this.#login = login;
        if (login === before) return;
        before?.close();
        login?.watch();
      },
      discard: () => {
        if (login !== before) login?.close();
      },
    };
  }

  close(): void {
    this.#login?.close();
  }
}

/** One file of users, one directory or both, and what is remembered of their logins. */
class Login {
  readonly passwords: Passwords;
  readonly #path: string | undefined;
  readonly #file: HtpasswdFile | undefined;
  readonly #ldap: LdapDirectory | undefined;
  readonly #pause: Pause;
  readonly #closing = new AbortController();

  constructor({ htpasswd, ldap }: Partial<AccessConfig>, { log, clock, pause, changed }: AccessOptions) {
    this.#path = htpasswd?.path;
    this.#pause = pause;
    const tell = seldom(clock, (problem: string) =>
      log.error({ problem }, "the directory of users: something is wrong"),
    );
    this.#ldap = ldap && new LdapDirectory(ldap, tell);
    const users = htpasswd && new HtpasswdUsers(htpasswd.users, verify);
    this.passwords = new Passwords({
      directory: directoryOf(users, this.#ldap),
      running: ldap === undefined ? comparisons : users === undefined ? questions.alone : questions.withFile,
      clock,
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
