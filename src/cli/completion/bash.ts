// Completion for bash 4 and later; it needs nothing else, such as the package bash-completion.
import type { CompletedCommand, CompletedProgram, CompletedValue } from "./completed-command.ts";

export function bashCompletion(program: CompletedProgram): string {
  const { name, commands } = program;
  const names = commands.map((each) => each.name);
  return `# bash completion of ${name}, printed by: ${name} completion bash
_${name}_files() {
  # Without a completion under way, as in a test, there are no options of it to set.
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

_${name}_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_${name}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command=
  COMPREPLY=()
  if ((COMP_CWORD > 1)); then
    case \${COMP_WORDS[1]} in
      ${names.join(" | ")}) command=\${COMP_WORDS[1]} ;;
    esac
  fi
  case "$command $previous" in
${[program, ...commands].flatMap((each) => valueCases(each, each === program ? "" : each.name)).join("\n")}
  esac
  case $command in
${commands.map((each) => `    ${each.name})\n${afterCommand(each)}\n      ;;`).join("\n")}
    *)
      if [[ $current == -* ]] || ((COMP_CWORD > 1)); then
        _${name}_words '${flagsOf(program)}' "$current"
      else
        _${name}_words '${names.join(" ")}' "$current"
      fi
      ;;
  esac
}

complete -F _${name} ${name}
`;

  function afterCommand(command: CompletedCommand): string {
    const flags = `_${name}_words '${flagsOf(command)}' "$current"`;
    const [argument] = command.arguments;
    if (argument === undefined) return `      ${flags}`;
    return `      if [[ $current == -* ]]; then ${flags}; else ${valueCompletion(argument)}; fi`;
  }

  function valueCases({ options }: CompletedCommand, command: string): string[] {
    return options
      .filter(({ value }) => value !== undefined)
      .map(({ flags, value }) => {
        const patterns = flags.map((flag) => `"${command} ${flag}"`).join(" | ");
        return `    ${patterns})\n      ${valueCompletion(value as CompletedValue)}\n      return\n      ;;`;
      });
  }

  function valueCompletion({ kind, choices }: CompletedValue): string {
    if (choices.length > 0) return `_${name}_words '${choices.join(" ")}' "$current"`;
    if (kind === "file") return `_${name}_files -f "$current"`;
    return kind === "directory" ? `_${name}_files -d "$current"` : ":";
  }
}

function flagsOf({ options }: CompletedCommand): string {
  return options.flatMap(({ flags }) => flags).join(" ");
}
