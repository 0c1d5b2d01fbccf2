// Users and groups of an LDAP directory. Somebody is who the name says when the directory takes the password for that entry
// (RFC 4513, section 5.1.3): the password is sent to it, and compared nowhere here.
import { isUtf8 } from "node:buffer";
import type { SecretSource } from "../../ports/secret.ts";
import { type Directory, DirectoryDown, type Person } from "../directory.ts";
import type { FoundEntry, LdapConnection, LdapServer } from "./ldap-connection.ts";
import { LdapProblem, LdapServers } from "./ldap-servers.ts";
import { dnValue, filled, filterValue, nameBelow, valueIn } from "./ldap-text.ts";

/** Where the directory is, and what in it are users and groups. */
export interface LdapSettings {
  readonly servers: readonly LdapServer[];
  readonly startTls: boolean;
  /** PEM of the authorities trusted instead of those of this program. */
  readonly ca: string | undefined;
  /** As whom is searched; undefined: as nobody, or as the user. */
  readonly account: { readonly dn: string; readonly password: SecretSource } | undefined;
  readonly users:
    | { readonly kind: "template"; readonly dn: string }
    /** `attribute`: what has the user's name. */
    | {
        readonly kind: "search";
        readonly base: string;
        readonly filter: string;
        readonly attribute: string;
      };
  /** Undefined: nobody is in a group. `attribute`: what has the group's name, or the names of a user's groups. */
  readonly groups:
    | {
        readonly kind: "search" | "attribute";
        readonly base: string;
        readonly filter: string;
        readonly attribute: string;
      }
    | undefined;
  /** Milliseconds for all that one login needs of one server. */
  readonly timeout: number;
}

/** As a rule can name it. Nobody can send a colon as a part of a name, and names with one mean something else. */
const userName = /^[^\p{Cc}:]{1,255}$/u;
/** Groups of one user that count; there are rules for few. */
const maxGroups = 1_000;

export class LdapDirectory implements Directory {
  readonly #settings: LdapSettings;
  readonly #servers: LdapServers;
  readonly #told: (problem: string) => void;
  readonly #changed: (usable: boolean) => void;
  /** Whether a server has answered the last question; undefined before the first. */
  #usable: boolean | undefined;

  /**
   * `told` gets what is wrong with a server or with what the directory has, for people, as often as it is met; `changed` whether
   * the directory can be asked, when that is another than before.
   */
  constructor(
    settings: LdapSettings,
    told: (problem: string) => void,
    changed: (usable: boolean) => void = () => {},
  ) {
    const { account, users } = settings;
    this.#settings = settings;
    this.#told = told;
    this.#changed = changed;
    this.#servers = new LdapServers({
      ...settings,
      // Otherwise the next would be searched for as the user before.
      keep: account !== undefined || users.kind === "template",
      failed: told,
    });
  }

  async find(name: string, password: Buffer): Promise<Person | undefined> {
    // The protocol has texts only.
    if (password.length === 0 || !isUtf8(password)) return undefined;
    try {
      const person = await this.#servers.use((connection) =>
        this.#ask(connection, name, password.toString()),
      );
      this.#answered(true);
      return person;
    } catch (error) {
      if (error instanceof DirectoryDown) this.#answered(false);
      throw error;
    }
  }

  #answered(usable: boolean): void {
    if (usable === this.#usable) return;
    this.#usable = usable;
    this.#changed(usable);
  }

  async #ask(connection: LdapConnection, typed: string, password: string): Promise<Person | undefined> {
    const { users } = this.#settings;
    const found = await this.#entryOf(connection, typed);
    if (found === undefined) {
      // As long as for a user whose password is wrong.
      if (users.kind === "search") await connection.bind(users.base, password);
      return undefined;
    }
    if (!(await connection.bind(found.dn, password))) return undefined;
    const { dn, name } = users.kind === "template" ? await this.#named(connection, users, found.dn) : found;
    return name === undefined ? undefined : { name, groups: await this.#groupsOf(connection, dn, name) };
  }

  /**
   * The entry that has logged in, by the name it has in the directory, which takes others for the same: in other letters, with
   * spaces, in another form of Unicode. Each would be somebody else to rules and limits.
   */
  async #named(
    connection: LdapConnection,
    { dn: template }: { readonly dn: string },
    typed: string,
  ): Promise<{ readonly dn: string; readonly name: string | undefined }> {
    await this.#asAccount(connection);
    const dn = await connection.nameOf(typed);
    const name = dn && valueIn(dn, template, "{user}");
    if (dn !== undefined && name !== undefined && userName.test(name)) return { dn, name };
    this.#told(
      "an entry that access.ldap.userDn names cannot be read, or is called otherwise: nobody can log in as it; let users read their own entries, or set bindDn",
    );
    return { dn: typed, name: undefined };
  }

  /** Whom the name means, before anything is proved. */
  async #entryOf(
    connection: LdapConnection,
    typed: string,
  ): Promise<{ readonly dn: string; readonly name: string } | undefined> {
    const { users } = this.#settings;
    // How the entry is called is known once it has logged in.
    if (users.kind === "template") return { dn: filled(users.dn, { user: dnValue(typed) }), name: typed };
    await this.#asAccount(connection);
    const entries = await connection.search({
      base: users.base,
      scope: "sub",
      filter: filled(users.filter, { user: filterValue(typed) }),
      attributes: [users.attribute],
      limit: 2,
    });
    const [entry] = entries;
    if (entry === undefined) return undefined;
    if (entries.length > 1) {
      this.#told("access.ldap.userFilter finds several entries for one name: nobody can log in by it");
      return undefined;
    }
    const name = nameOf(entry, users.attribute, typed);
    if (name !== undefined) return { dn: entry.dn, name };
    this.#told(
      `an entry that access.ldap.userFilter finds has no single ${users.attribute} that can be a name: nobody can log in as it`,
    );
    return undefined;
  }

  async #groupsOf(connection: LdapConnection, dn: string, user: string): Promise<readonly string[]> {
    const { groups } = this.#settings;
    if (groups === undefined) return [];
    await this.#asAccount(connection);
    const { base, filter, attribute } = groups;
    if (groups.kind === "search") {
      const entries = await connection.search({
        base,
        scope: "sub",
        filter: filled(filter, { dn: filterValue(dn), user: filterValue(user) }),
        attributes: [attribute],
        limit: maxGroups,
      });
      return entries.flatMap((entry) => entry.values(attribute));
    }
    const [entry] = await connection.search({
      base: dn,
      scope: "base",
      filter: "(objectClass=*)",
      attributes: [attribute],
      limit: 1,
    });
    const names =
      entry
        ?.values(attribute)
        .slice(0, maxGroups)
        .map((each) => nameBelow(each, base)) ?? [];
    return names.filter((name) => name !== undefined);
  }

  /** Without an account the connection stays whose it is. */
  async #asAccount(connection: LdapConnection): Promise<void> {
    const { account } = this.#settings;
    if (account === undefined) return;
    const password = (await account.password.read()).reveal();
    if (!(await connection.bind(account.dn, password)))
      throw new LdapProblem("it refuses access.ldap.bindDn and its password");
  }

  /** Logins under way go on to their end. */
  close(): void {
    this.#servers.close();
  }
}

/**
 * The name as the entry has it: the directory compares without regard to letter case, and filters may find people by what they
 * can change themselves.
 */
function nameOf(entry: FoundEntry, attribute: string, typed: string): string | undefined {
  const names = entry.values(attribute).filter((name) => userName.test(name));
  const same = names.find((name) => name.toLowerCase() === typed.toLowerCase());
  return same ?? (names.length === 1 ? names[0] : undefined);
}
