// BuildKit's buildkitd.toml, as its own documentation has it. It puts the path of a mirror behind /v2/ (docs/clients.md 3).
import {
  type ClientFile,
  type ClientMirror,
  ClientProblem,
  type ClientSetup,
  type ClientWishes,
  hostOf,
  isPlain,
} from "./mirror.ts";
import { accessNotes, mirrorHosts, waysOf } from "./ways.ts";

const directory = "/etc/buildkit";

/** Throws ClientProblem where BuildKit cannot be given what is wished. */
export function buildkit(mirror: ClientMirror, { fallback }: ClientWishes): ClientSetup {
  if (!fallback)
    throw new ClientProblem(
      "BuildKit asks the registry itself when its mirrors fail, and nothing in buildkitd.toml forbids it: " +
        `name the mirror in the Dockerfile (FROM ${hostOf(mirror)}/...), or give BuildKit's network no way to the registry`,
    );
  const { ways, notes } = waysOf(mirror, { client: "BuildKit", namespace: true, path: "after" });
  const { ca } = mirror;
  const authority = (host: string) => `${directory}/${host.replaceAll(":", "_")}-ca.crt`;
  const hosts = mirrorHosts(ways);
  const tables = [
    ...ways.map(({ registry, url }) => [
      `[registry.${JSON.stringify(registry.host)}]`,
      `  mirrors = [${JSON.stringify(`${url.host}${url.pathname.replace(/\/+$/, "")}`)}]`,
    ]),
    ...hosts.flatMap((host) => {
      const settings = [
        ...(isPlain(mirror) ? ["  http = true"] : []),
        ...(ca === undefined ? [] : [`  ca = [${JSON.stringify(authority(host))}]`]),
      ];
      return settings.length === 0 ? [] : [[`[registry.${JSON.stringify(host)}]`, ...settings]];
    }),
  ];
  return {
    files: [
      {
        path: `${directory}/buildkitd.toml`,
        text: `${tables.map((lines) => lines.join("\n")).join("\n\n")}\n`,
      },
      ...hosts.flatMap((host): ClientFile[] =>
        ca === undefined ? [] : [{ path: authority(host), text: ca }],
      ),
    ],
    restart: `systemctl restart buildkit, or docker buildx create --use --config ${directory}/buildkitd.toml`,
    notes: [
      ...notes,
      ...accessNotes(mirror, ways, {
        where: `docker login ${hostOf(mirror)}, for whoever runs the build`,
      }),
    ],
  };
}
