// containerd's hosts.toml, which nerdctl, docker's containerd image store, and the nodes of kind and
// minikube read as well.
import {
  baseOf,
  type ClientFile,
  type ClientMirror,
  type ClientSetup,
  type ClientWishes,
  isAtLeast,
  type Login,
} from "./mirror.ts";
import { accessNotes, mirrorHosts, type Ways, waysOf } from "./ways.ts";

export interface HostsFiles extends Pick<ClientSetup, "files" | "notes"> {
  readonly ways: Ways["ways"];
}

export interface HostsPlace {
  readonly client: string;
  /** Directory with a directory for each registry, where the client has it. */
  readonly directory: string;
  /** The same where the file is put, when that is another place. */
  readonly put?: string;
  /** The oldest version that knows the capability `referrers`: older ones refuse the whole file. */
  readonly referrersSince: readonly number[];
}

/** A file for each registry, and one with the authority. Throws ClientProblem where there is no way to any. */
export function hostsFiles(
  mirror: ClientMirror,
  { fallback, version, login }: ClientWishes,
  { client, directory, put = directory, referrersSince }: HostsPlace,
): HostsFiles {
  const { ways, notes } = waysOf(mirror, { client, namespace: true, path: "before" });
  const capabilities = ["pull", "resolve", ...(isAtLeast(version, ...referrersSince) ? ["referrers"] : [])];
  const files = ways.map(({ registry, url }): ClientFile => {
    const host = [
      `capabilities = [${capabilities.map((each) => JSON.stringify(each)).join(", ")}]`,
      'dial_timeout = "1s"',
      ...(mirror.ca === undefined ? [] : [`ca = ${JSON.stringify(`${directory}/${url.host}/ca.crt`)}`]),
    ];
    const server = JSON.stringify(baseOf(url));
    const lines = fallback
      ? [
          `server = ${JSON.stringify(registry.server)}`,
          "",
          `[host.${server}]`,
          ...host.map((line) => `  ${line}`),
          ...headerOf(login, `host.${server}.header`, "  "),
        ]
      : // containerd 1.6 refuses a file without this table ("invalid `host` tree").
        [`server = ${server}`, ...host, ...headerOf(login, "header", ""), "[host]"];
    return {
      path: `${put}/${registry.host}/hosts.toml`,
      text: `${lines.join("\n")}\n`,
      ...(login && { secret: true }),
    };
  });
  const { ca } = mirror;
  const authorities = mirrorHosts(ways).flatMap((host) =>
    ca === undefined ? [] : [{ path: `${put}/${host}/ca.crt`, text: ca }],
  );
  return {
    ways,
    files: [...files, ...authorities],
    notes: [
      ...notes,
      ...accessNotes(mirror, ways, {
        login,
        where: "it goes into the file as a header; --username NAME --password-file FILE writes it there",
      }),
    ],
  };
}

function headerOf(login: Login | undefined, table: string, indent: string): string[] {
  if (login === undefined) return [];
  const { username, password } = login;
  const value = Buffer.from(`${username}:${password}`).toString("base64");
  return [`${indent}[${table}]`, `${indent}  Authorization = "Basic ${value}"`];
}
