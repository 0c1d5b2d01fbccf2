// What the files of clients are made from: where the mirror is, and for whose names it stands. Pure data, so that the command,
// the status page and the tests make the same files of it.

/** What the mirror makes of a request without path, by what it says in `?ns=` (http/routing.ts). */
export interface MirroredRegistry {
  /** Host of the names that clients pull, with its port if it has one, such as `docker.io` or `registry.example.com:8443`. */
  readonly host: string;
  /** Where it is asked when the mirror fails, such as `https://registry-1.docker.io`. */
  readonly server: string;
  /** Name of the upstream in the configuration; left out where there is none. */
  readonly upstream?: string | undefined;
  /** Whether a request that names no upstream is for this one. */
  readonly isDefault: boolean;
  /** What comes of `?ns=` with this host: it leads here, it says nothing as there are no namespaces, or it is refused. */
  readonly namespace: "leads" | "ignored" | "refused";
  /** Path before `/v2` that stands for it; left out where there is none. */
  readonly prefix?: string | undefined;
  /** First part of a repository that stands for it; left out where there is none. */
  readonly component?: string | undefined;
  /** Names of the mirror under which it is this registry. */
  readonly hosts: readonly string[];
  /** Whether it wants to know who is asking. */
  readonly asksForLogin: boolean;
}

export interface ClientMirror {
  /** How clients reach the mirror: http or https, with a path or not. */
  readonly url: URL;
  readonly registries: readonly MirroredRegistry[];
  /** PEM of the authority of its certificate; left out where clients know it, or where there is none. */
  readonly ca?: string | undefined;
  /** Whether it refuses clients that show no certificate. */
  readonly wantsCertificate?: boolean;
}

/** A name and password to be written into files that carry one. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface ClientWishes {
  /** Whether the client may ask the registry itself when the mirror fails. */
  readonly fallback: boolean;
  /** Of the client, number by number; left out: not known, so that the file is one which every version takes. */
  readonly version?: readonly number[] | undefined;
  /** Left out: no file holds a secret. */
  readonly login?: Login | undefined;
}

export interface ClientFile {
  /** Where it goes: absolute, below the user's home (`~/`), or a name where it is given to a command. */
  readonly path: string;
  readonly text: string;
  /** For its owner alone. */
  readonly secret?: true;
}

export interface ClientSetup {
  readonly files: readonly ClientFile[];
  /** What has to be started again, or run, for the files to count. */
  readonly restart: string;
  /** What else there is to know, a sentence each; some have lines to be put into a file that is there already. */
  readonly notes: readonly string[];
}

/** Why there is no file for this client and mirror, and what to do instead. */
export class ClientProblem extends Error {}

/** `host:port` as clients write it; the port is left out where the URL does. */
export function hostOf({ url }: Pick<ClientMirror, "url">): string {
  return url.host;
}

export function isPlain({ url }: Pick<ClientMirror, "url">): boolean {
  return url.protocol === "http:";
}

/** A base URL without a slash at its end. */
export function baseOf(url: URL): string {
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

/** Whether the client's version is known to be at least this one. */
export function isAtLeast(version: readonly number[] | undefined, ...least: readonly number[]): boolean {
  return version !== undefined && compare(version, least) >= 0;
}

/** Whether it is known to be older. */
export function isBefore(version: readonly number[] | undefined, ...least: readonly number[]): boolean {
  return version !== undefined && compare(version, least) < 0;
}

function compare(version: readonly number[], other: readonly number[]): number {
  for (const [at, part] of other.entries()) {
    const difference = (version[at] ?? 0) - part;
    if (difference !== 0) return difference;
  }
  return 0;
}
