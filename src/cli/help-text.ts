// What --help says after the list of commands.
import { environmentHelp, fileHelp } from "../config/help.ts";

const examples = `
Examples:
  entrepot demo                        see it work, with nothing to configure
  ENTREPOT_UPSTREAM_URL=https://registry.example.com entrepot
  entrepot --config mirror.yaml        the same as entrepot serve --config mirror.yaml
  entrepot check --config mirror.yaml  validate, and print what every setting comes to
  entrepot why team/app:1.0 --ops 127.0.0.1:5001   what of the image is here`;

const exitCodes = `
Exit codes:
  0  done; after a signal: every transfer under way was finished
  1  failed to start, or transfers were cut (time-out of the drain, or a second signal)
  2  the configuration or the command line is wrong`;

/** Examples, environment, what only the file has, and exit codes. */
export function helpText(): string {
  const environment = `
Environment (wins over the YAML file; an empty variable counts as not set):
${environmentHelp()}`;
  const file = `
Only in the YAML file:
${fileHelp()}`;
  return [examples, environment, file, exitCodes].join("\n");
}
