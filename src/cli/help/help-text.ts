// What --help and the manual page say besides the commands and their options.
import { keyMeanings, meaningsHelp, variableMeanings } from "../../config/help.ts";

/** Headings of the commands. */
export const commandGroups = {
  run: "Run a mirror:",
  ask: "Ask a running mirror:",
  images: "Fetch, keep and delete images:",
  shell: "Completion and manual:",
} as const;

/** A command line and what it is for. */
export const examples: readonly (readonly [command: string, purpose: string])[] = [
  ["entrepot demo", "see it work, with nothing to configure"],
  ["ENTREPOT_UPSTREAM_URL=https://registry.example.com entrepot", "run a mirror, all else as by default"],
  ["entrepot --config mirror.yaml", "the same as entrepot serve --config mirror.yaml"],
  ["entrepot check --config mirror.yaml", "validate, and print what every setting comes to"],
  ["entrepot client-config podman --config mirror.yaml", "the file that points podman at the mirror"],
  ["entrepot doctor --image team/app:1.0", "which hop between here and a pull fails, and the likely fix"],
  ["entrepot why team/app:1.0 --ops 127.0.0.1:5001", "which parts of the image are here"],
  ["entrepot history team/app:latest", "which digests the tag has named, and since when"],
  ["entrepot readiness --days 30", "which images could be pulled now without their registries"],
  ["entrepot drill --clients 10.1.2.0/24 --for 10m", "answer these as if the registries were dead"],
  ["entrepot savings --month 2026-11 --csv", "what was saved in that month, for a spreadsheet"],
  ["entrepot warm --from-manifests app.yaml --platform linux/amd64", "fetch its images before a roll-out"],
  ["entrepot pin team/app:1.0", "keep it on all nodes, and never evict it"],
  ['entrepot block sha256:… --reason "stolen key"', "no node gives it to anybody any more"],
  ["entrepot refresh team/app:latest", "ask upstream again for the tag, now"],
  ["entrepot export team/app:1.0 --to images.tar", "carry it to a site without a registry"],
  ["entrepot import images.tar", "serve it there"],
  ["entrepot purge team/app:1.0 --dry-run", "what would go from the caches, and what would stay"],
];

/** Of the Debian package and of the unit in deploy/systemd, but for the last one. */
export const files: readonly (readonly [path: string, what: string])[] = [
  ["/etc/entrepot/entrepot.yaml", "the configuration of the service"],
  ["/etc/entrepot/secrets/", "its passwords, for root only: the service gets them as credentials"],
  ["/var/cache/entrepot/", "its cache; cache.dir says another directory"],
  ["./data/", "the cache of a mirror without the setting"],
];

/** Of serve, which is what happens without a command. */
export const serveExitCodes = `
Exit codes:
  0  done; after a signal: every transfer under way was finished
  1  failed to start, or transfers were cut (time-out of the drain, or a second signal)
  2  the configuration or the command line is wrong`;

const otherExitCodes = `
Commands that ask a running mirror have their own: entrepot why --help and so on.`;

/** Stands after the commands in entrepot --help. */
export function rootHelp(): string {
  return [
    `\nExamples:\n${examples.map(([command, purpose]) => `  ${command}\n      ${purpose}`).join("\n")}`,
    serveExitCodes + otherExitCodes,
    `\nFiles:\n${files.map(([path, what]) => `  ${path.padEnd(28)} ${what}`).join("\n")}`,
    `\nEnvironment (wins over the YAML file; an empty variable counts as not set):\n${meaningsHelp(variableMeanings)}`,
    `\nOnly in the YAML file:\n${meaningsHelp(keyMeanings)}`,
  ].join("\n");
}
