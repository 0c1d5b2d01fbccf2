// Who may do what on this node, made of the configuration: the gate that requests pass, and the file of users it goes by.
import type { Logger } from "pino";
import type { AccessConfig, HtpasswdConfig } from "../config/config.ts";
import { AccessRules } from "../gate/access-rules.ts";
import { Gate } from "../gate/gate.ts";
import { HtpasswdFile } from "../gate/htpasswd-file.ts";
import { HtpasswdUsers, type Verify } from "../gate/htpasswd-users.ts";
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
    const htpasswd = access?.htpasswd;
    const kept = before !== undefined && before.path === htpasswd?.path ? before : undefined;
    const login = kept ?? (htpasswd && new Login(htpasswd, this.#options));
    const rules = access && new AccessRules(access.rules);
    return {
      gate: rules && new Gate({ rules, passwords: login?.passwords }),
      apply: () => {
        this.#login = login;
        if (login === before) return;
        before?.close();
        login?.watch();
      },
      discard: () => {},
    };
  }

  close(): void {
    this.#login?.close();
  }
}

/** One file of users, and what is remembered of their logins. */
class Login {
  readonly path: string;
  readonly passwords: Passwords;
  readonly #file: HtpasswdFile;
  readonly #pause: Pause;
  readonly #closing = new AbortController();

  constructor({ path, name, users }: HtpasswdConfig, { log, clock, pause, changed }: AccessOptions) {
    this.path = path;
    this.#pause = pause;
    const directory = new HtpasswdUsers(users, verify);
    this.passwords = new Passwords({ directory, running: comparisons, clock });
    this.#file = new HtpasswdFile({
      path,
      name,
      users,
      changed: (next) => {
        directory.use(next);
        this.passwords.forget();
        changed();
        log.info({ users: next.size }, "the file of users has changed and is used from now on");
      },
      unusable: (problem) =>
        log.error({ problem }, "the file of users cannot be used: those read before stay"),
    });
  }

  watch(): void {
    void this.#file.watch(this.#pause, this.#closing.signal);
  }

  close(): void {
    this.#closing.abort();
  }
}
