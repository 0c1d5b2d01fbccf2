// kaniko has no file but its command line: arguments of the container that builds (kaniko, README, "Additional Flags"), and the
// docker config for logins.
import { stringify } from "yaml";
import {
  type ClientFile,
  type ClientMirror,
  type ClientSetup,
  type ClientWishes,
  hostOf,
  isPlain,
} from "./mirror.ts";
import { accessNotes, mirrorHosts, waysOf } from "./ways.ts";

const authority = "/kaniko/entrepot-ca.crt";

/** Throws ClientProblem where there is no way to any registry. */
export function kaniko(mirror: ClientMirror, { fallback, login }: ClientWishes): ClientSetup {
  const { ways, notes } = waysOf(mirror, { client: "kaniko", namespace: false, path: "after" });
  const { ca } = mirror;
  const hosts = mirrorHosts(ways);
  const args = [
    ...ways.map(({ registry, url }) => {
      const to = `${url.host}${url.pathname.replace(/\/+$/, "")}`;
      return `--registry-map=${registry.host === "docker.io" ? "index.docker.io" : registry.host}=${to}`;
    }),
    ...(fallback ? [] : ["--skip-default-registry-fallback"]),
    ...(isPlain(mirror) ? hosts.map((host) => `--insecure-registry=${host}`) : []),
    ...(ca === undefined ? [] : hosts.map((host) => `--registry-certificate=${host}=${authority}`)),
  ];
  const auths = login && {
    auths: Object.fromEntries(
      hosts.map((host) => [
        host,
        { auth: Buffer.from(`${login.username}:${login.password}`).toString("base64") },
      ]),
    ),
  };
  const files: ClientFile[] = [
    { path: "entrepot-kaniko.yaml", text: stringify({ args }, { lineWidth: 0 }) },
    ...(ca === undefined ? [] : [{ path: authority, text: ca }]),
    ...(auths === undefined
      ? []
      : [
          {
            path: "/kaniko/.docker/config.json",
            text: `${JSON.stringify(auths, undefined, 2)}\n`,
            secret: true as const,
          },
        ]),
  ];
  return {
    files,
    restart:
      "nothing: put these arguments beside those of the kaniko container, or on the executor's command line",
    notes: [
      ...notes,
      ...(files.length > 1
        ? ["files below /kaniko are mounted into that container, from a Secret or a ConfigMap"]
        : []),
      ...accessNotes(mirror, ways, {
        login,
        where: `for ${hostOf(mirror)} in /kaniko/.docker/config.json; --username NAME --password-file FILE writes it`,
      }),
    ],
  };
}
