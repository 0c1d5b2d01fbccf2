// The clients that read hosts.toml from the machine's own directory: containerd, nerdctl, docker's containerd image store.
import { type HostsPlace, hostsFiles } from "./hosts-toml.ts";
import { type ClientMirror, type ClientSetup, type ClientWishes, isAtLeast, isBefore } from "./mirror.ts";

const directory = "/etc/containerd/certs.d";

/** Since when containerd has the capability `referrers`. */
export const referrersSince = [2, 2] as const;

/** Throws ClientProblem where there is no way to any registry. */
export function containerd(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  const { files, notes } = hostsFiles(mirror, wishes, { client: "containerd", directory, referrersSince });
  return {
    files,
    restart:
      "nothing for these files; containerd once its config.toml has changed: systemctl restart containerd",
    notes: [
      `for Kubernetes (CRI), /etc/containerd/config.toml has to name the directory:\n${criSettings(wishes.version)}`,
      `ctr wants it on the command line: ctr images pull --hosts-dir ${directory} ...`,
      ...notes,
    ],
  };
}

/** Lines of /etc/containerd/config.toml by which the Kubernetes part reads the files; for both where the version is not known. */
export function criSettings(version: readonly number[] | undefined): string {
  const one = (format: number, plugin: string) =>
    `  version = ${format}\n  [plugins."${plugin}".registry]\n    config_path = "${directory}"`;
  const [old, recent] = [one(2, "io.containerd.grpc.v1.cri"), one(3, "io.containerd.cri.v1.images")];
  if (isBefore(version, 2)) return old;
  return isAtLeast(version, 2) ? recent : `${recent}\nof containerd 1:\n${old}`;
}

/** Throws ClientProblem where there is no way to any registry. */
export function nerdctl(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  const { files, notes } = hostsFiles(mirror, wishes, { client: "nerdctl", directory, referrersSince });
  return {
    files,
    restart: "nothing: nerdctl reads the files at each pull",
    notes: ["rootless nerdctl reads ~/.config/containerd/certs.d instead", ...notes],
  };
}

const certsPlace: HostsPlace = {
  client: "docker",
  directory: "/etc/docker/certs.d",
  referrersSince: [29],
};

/** Throws ClientProblem where there is no way to any registry. */
export function dockerCertsD(mirror: ClientMirror, wishes: ClientWishes): ClientSetup {
  const { files, notes, ways } = hostsFiles(mirror, wishes, certsPlace);
  return {
    files,
    restart: "nothing: docker reads the files at each pull",
    notes: [
      'docker 28 and later with the containerd image store: new installations of docker 29 have it, before that "features": {"containerd-snapshotter": true} in /etc/docker/daemon.json turns it on; the classic store does not read these files',
      ...(ways.some(({ registry }) => registry.host === "docker.io")
        ? ["the file for docker.io takes the place of registry-mirrors"]
        : []),
      ...notes,
    ],
  };
}
