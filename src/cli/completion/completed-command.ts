// The commands as shells complete them: what the command line itself knows of them.
import type { Argument, Command, Option } from "commander";

/** What follows an option, or stands as an argument. */
export interface CompletedValue {
  /** As --help has it, without brackets. */
  readonly name: string;
  readonly kind: "file" | "directory" | "word";
  /** The only ones there are; none when it can be anything. */
  readonly choices: readonly string[];
}

export interface CompletedOption {
  /** Such as `-h` and `--help`. */
  readonly flags: readonly string[];
  readonly description: string;
  readonly value: CompletedValue | undefined;
  readonly isRepeatable: boolean;
}

export interface CompletedArgument extends CompletedValue {
  readonly isRepeatable: boolean;
}

export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly arguments: readonly CompletedArgument[];
}

export interface CompletedProgram extends CompletedCommand {
  /** What may be its first word, in the order of --help. */
  readonly commands: readonly CompletedCommand[];
}

/** What happens without a command: its options may stand at once. */
const defaultCommand = "serve";

/** `root` with what --help shows of it: no hidden command and no hidden option. */
export function completedProgram(root: Command): CompletedProgram {
  const commands = root
    .createHelp()
    .visibleCommands(root)
    .map((command) => completedCommand(command));
  const names = commands.map(({ name }) => name);
  const own = completedCommand(root);
  const byDefault = commands.find(({ name }) => name === defaultCommand)?.options ?? [];
  const known = new Set(own.options.flatMap(({ flags }) => flags));
  return {
    ...own,
    options: [...own.options, ...byDefault.filter(({ flags }) => !flags.some((flag) => known.has(flag)))],
    commands: commands.map((each) => (each.name === "help" ? helpOf(each, names) : each)),
  };
}

function completedCommand(command: Command): CompletedCommand {
  return {
    name: command.name(),
    description: brief(command.description()),
    options: command.createHelp().visibleOptions(command).map(completedOption),
    arguments: command.registeredArguments.map(completedArgument),
  };
}

/** Whose argument is one of the commands, which commander leaves open. */
function helpOf(help: CompletedCommand, names: readonly string[]): CompletedCommand {
  return { ...help, arguments: [{ name: "command", kind: "word", choices: names, isRepeatable: false }] };
}

function completedOption(option: Option): CompletedOption {
  const { short, long, flags, description, argChoices = [] } = option;
  const placeholder = /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1];
  return {
    flags: [short, long].filter((flag) => flag !== undefined),
    description: brief(description),
    value: placeholder === undefined ? undefined : value(placeholder, argChoices),
    // One that collects has a function for it; of those with a function, --help says so.
    isRepeatable: option.variadic || description.includes("(repeatable)"),
  };
}

function completedArgument(argument: Argument): CompletedArgument {
  return { ...value(argument.name(), argument.argChoices ?? []), isRepeatable: argument.variadic };
}

function value(placeholder: string, choices: readonly string[]): CompletedValue {
  const name = placeholder.replace(/\.\.\.$/, "");
  const kind = /^(?:file|path|layout)$/.test(name)
    ? "file"
    : /^(?:dir|directory)$/.test(name)
      ? "directory"
      : "word";
  return { name, kind, choices };
}

/** Up to the first semicolon or the end of the first sentence: shells show a line. */
function brief(description: string): string {
  return description.split(/; |\. /, 1)[0] ?? "";
}
