// `entrepot man`: the manual page, made from the commands and the settings, in the macros of man(7) that groff and mandoc
// both know.
import type { Argument, Command, Help } from "commander";
import { keyMeanings, type NamedMeaning, variableMeanings } from "../../config/help.ts";
import { examples, files, serveExitCodes } from "./help-text.ts";

/** The page of section 1 for the commands of `root`, with its last newline. */
export function manualPage(root: Command): string {
  const help = root.createHelp();
  const name = root.name();
  const lines = [
    `.TH ${name.toUpperCase()} 1 "" "${name} ${text(root.version() ?? "")}" "User Commands"`,
    ".SH NAME",
    `${name} \\- ${text(lowerFirst(root.description()))}`,
    ".SH SYNOPSIS",
    ".B entrepot",
    "[\\fIoptions\\fR] [\\fIcommand\\fR]",
    ".SH DESCRIPTION",
    "One mirror for the clients of a datacenter, in front of container registries that are far away: the first pull of a layer " +
      "crosses the long link once, every other pull is served from here. Without a command it runs the mirror, as",
    ".B serve",
    "does. Its settings come from a YAML file and from environment variables.",
    ".SH OPTIONS",
    ...options(root, help),
    ".SH COMMANDS",
    ...grouped(root, help).flatMap(([heading, commands]) => [
      `.SS ${quoted(heading.replace(/:$/, ""))}`,
      ...commands.flatMap((each) => [".TP", `.B ${text(each.name())}`, text(sentence(each.description()))]),
    ]),
    ".SH OPTIONS OF COMMANDS",
    ...help.visibleCommands(root).flatMap((each) => ofCommand(each, help)),
    ".SH EXIT STATUS",
    `Of ${name} without a command and of serve; those of other commands are told above.`,
    ...listed(serveExitCodes).slice(1),
    ".SH ENVIRONMENT",
    "Variables win over the YAML file; an empty one counts as not set.",
    ...meanings(variableMeanings),
    ".SH CONFIGURATION FILE",
    "Each setting above is a key of the file, too;",
    `.B ${name} schema`,
    "prints all of them as JSON Schema. Only in the file:",
    ...meanings(keyMeanings),
    ".SH FILES",
    ...files.flatMap(([path, what]) => [".TP", `.I ${text(path)}`, text(what)]),
    ".SH EXAMPLES",
    ...examples.flatMap(([command, purpose]) => [".TP", `.B ${text(command)}`, text(purpose)]),
    ".SH SEE ALSO",
    ".BR systemctl (1),",
    ".BR docker (1),",
    ".BR podman (1)",
  ];
  return `${lines.join("\n")}\n`;
}

/** The commands of --help under their headings, both in its order. */
function grouped(root: Command, help: Help): [string, Command[]][] {
  const commands = help.visibleCommands(root);
  const groups = Map.groupBy(commands, (command) => command.helpGroup());
  return [...groups];
}

function ofCommand(command: Command, help: Help): string[] {
  const { registeredArguments } = command;
  const synopsis = registeredArguments.map(argumentText).map((each) => ` \\fI${text(each)}\\fR`);
  return [
    `.SS "${text(command.name())}${synopsis.join("")}"`,
    text(sentence(command.description())),
    ...help
      .visibleArguments(command)
      .flatMap((each) => [".TP", `.I ${text(argumentText(each))}`, text(help.argumentDescription(each))]),
    ...options(command, help),
    ...listed(textAfter(command)),
  ];
}

function argumentText(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  return argument.required ? name : `[${name}]`;
}

function options(command: Command, help: Help): string[] {
  return help
    .visibleOptions(command)
    .flatMap((each) => [".TP", `.B ${text(help.optionTerm(each))}`, text(help.optionDescription(each))]);
}

/** What addHelpText has added to the help of a command. */
function textAfter(command: Command): string {
  let all = "";
  const { writeOut } = command.configureOutput();
  command.configureOutput({
    writeOut(piece) {
      all += piece;
    },
  });
  command.outputHelp();
  if (writeOut !== undefined) command.configureOutput({ writeOut });
  return all.slice(command.helpInformation().length);
}

/** Headings, then `  TERM  meaning` with the meaning's further lines indented, or other lines as they are. */
function listed(help: string): string[] {
  const lines: string[] = [];
  for (const line of help.split("\n")) {
    const [, term, meaning] = /^ {2}(\S.*?) {2,}(\S.*)$/.exec(line) ?? [];
    if (term !== undefined && meaning !== undefined) lines.push(".TP", `.B ${text(term)}`, text(meaning));
    else if (/^\S.*:$/.test(line)) lines.push(".PP", text(line));
    else if (line.startsWith("    ")) lines.push(text(line.trim()));
    else if (line.trim() !== "") lines.push(".TP", `.B ${text(line.trim())}`);
  }
  return lines;
}

function meanings(named: readonly NamedMeaning[]): string[] {
  return named.flatMap(({ name, meaning }) => [".TP", `.B ${text(name)}`, text(sentence(meaning))]);
}

function sentence(words: string): string {
  return /[.)]$/.test(words) ? words : `${words}.`;
}

function lowerFirst(words: string): string {
  return words.charAt(0).toLowerCase() + words.slice(1);
}

function quoted(words: string): string {
  return `"${text(words).replaceAll('"', "\\(dq")}"`;
}

/** As it is: backslashes, hyphens that are to be copied, and what would be a request at the beginning of a line. */
function text(words: string): string {
  return words
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/, "\\&$1");
}
