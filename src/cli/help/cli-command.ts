// A command with the options and the end of --help that many have.
import { Command } from "commander";

/** What a code means, by its number; a line break is indented. One that is left out does not come about. */
export type ExitCodes = Readonly<Partial<Record<0 | 1 | 2, string>>>;

export class CliCommand extends Command {
  override createCommand(name?: string): CliCommand {
    return new CliCommand(name);
  }

  configOption(): this {
    return this.option("-c, --config <file>", "YAML file with settings (also: ENTREPOT_CONFIG)");
  }

  offlineOption(): this {
    return this.option("--offline", "do not ask the registries whether they are there and take the account");
  }

  /** For a command that asks a running mirror. */
  opsOption(): this {
    return this.option(
      "--ops <address>",
      "where the mirror's ops listener is, when not where the settings say (without any: 127.0.0.1:5001); its password comes from ENTREPOT_OPS_ACCESS_PASSWORD_FILE or the like",
    );
  }

  jsonOption(meaning = "print the answer as JSON"): this {
    return this.option("--json", meaning);
  }

  exitCodes(codes: ExitCodes, heading = "Exit codes"): this {
    const lines = Object.entries(codes).map(
      ([code, meaning]) => `\n  ${code}  ${meaning.replaceAll("\n", "\n     ")}`,
    );
    return this.addHelpText("after", `\n${heading}:${lines.join("")}`);
  }
}
