// A patch of a Talos machine configuration (Talos, v1alpha1, machine.registries), of which its nodes make containerd's hosts.toml.
import { stringify } from "yaml";
import { baseOf, type ClientMirror, type ClientSetup, type ClientWishes } from "./mirror.ts";
import { accessNotes, mirrorHosts, waysOf } from "./ways.ts";

const path = "entrepot-talos.yaml";

/** Throws ClientProblem where there is no way to any registry. */
export function talos(mirror: ClientMirror, { fallback, login }: ClientWishes): ClientSetup {
  const { ways, notes } = waysOf(mirror, { client: "Talos", namespace: true, path: "before" });
  const { ca } = mirror;
  const own = {
    ...(login && { auth: { username: login.username, password: login.password } }),
    ...(ca === undefined ? {} : { tls: { ca: Buffer.from(ca).toString("base64") } }),
  };
  const mirrors = Object.fromEntries(
    ways.map(({ registry, url }) => [
      registry.host,
      { endpoints: [baseOf(url)], ...(fallback ? {} : { skipFallback: true }) },
    ]),
  );
  const config = Object.fromEntries(mirrorHosts(ways).map((host) => [host, own]));
  const registries = { mirrors, ...(Object.keys(own).length === 0 ? {} : { config }) };
  return {
    files: [
      {
        path,
        // One line for a certificate, however long: it is base64.
        text: stringify({ machine: { registries } }, { lineWidth: 0 }),
        ...(login && { secret: true }),
      },
    ],
    restart: `talosctl patch machineconfig --patch @${path}`,
    notes: [
      ...notes,
      ...accessNotes(mirror, ways, {
        login,
        where:
          "it goes below machine.registries.config; --username NAME --password-file FILE writes it there",
      }),
    ],
  };
}
