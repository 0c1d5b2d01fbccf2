// Completion for fish 3: a file entrepot.fish in a directory of $fish_complete_path.
import type {
  CompletedCommand,
  CompletedOption,
  CompletedProgram,
  CompletedValue,
} from "./completed-command.ts";

export function fishCompletion(program: CompletedProgram): string {
  const { name, commands } = program;
  return `# fish completion of ${name}, printed by: ${name} completion fish
function __${name}_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __${name}_no_command
    not __${name}_command ${commands.map((each) => each.name).join(" ")}
end

complete -c ${name} -f
${[
  ...program.options.map((each) => option(each, `__${name}_no_command`)),
  ...commands.map(
    (each) =>
      `-n ${quoted(`__${name}_no_command; and test (count (commandline -opc)) -eq 1`)} -a ${each.name} -d ${quoted(each.description)}`,
  ),
  ...commands.flatMap((each) => afterCommand(each, `__${name}_command ${each.name}`)),
]
  .map((line) => `complete -c ${name} ${line}`)
  .join("\n")}
`;
}

function afterCommand({ options, arguments: ofCommand }: CompletedCommand, condition: string): string[] {
  const values = ofCommand.map(candidates).filter((each) => each !== "");
  return [
    ...options.map((each) => option(each, condition)),
    ...values.map((each) => `-n ${quoted(condition)} ${each}`),
  ];
}

function option({ flags, description, value }: CompletedOption, condition: string): string {
  const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const follows = value === undefined ? "" : ` -r ${candidates(value)}`;
  return `-n ${quoted(condition)} ${names.join(" ")}${follows.trimEnd()} -d ${quoted(description)}`;
}

function candidates({ kind, choices }: CompletedValue): string {
  if (choices.length > 0) return `-a ${quoted(choices.join(" "))}`;
  if (kind === "file") return "-F";
  return kind === "directory" ? `-a '(__fish_complete_directories)'` : "";
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
