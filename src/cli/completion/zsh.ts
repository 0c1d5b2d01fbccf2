// Completion for zsh, by its _arguments: as a file _entrepot in a directory of $fpath, or read by source behind compinit.
import type {
  CompletedArgument,
  CompletedCommand,
  CompletedOption,
  CompletedProgram,
  CompletedValue,
} from "./completed-command.ts";

export function zshCompletion(program: CompletedProgram): string {
  const { name, commands } = program;
  return `#compdef ${name}
# zsh completion of ${name}, printed by: ${name} completion zsh
_${name}() {
  local curcontext=$curcontext state line ret=1
  local -A opt_args
  local -a commands=(
${commands.map((each) => `    ${quoted(`${each.name}:${escaped(each.description, ":")}`)}`).join("\n")}
  )
  _arguments -C -s -S \\
${[...program.options.map(option), "'1: :->command'", "'*:: :->arguments'"].map((spec) => `    ${spec}`).join(" \\\n")} && ret=0
  case $state in
    command)
      _describe -t commands command commands && ret=0
      ;;
    arguments)
      case $words[1] in
${commands.map(afterCommand).join("\n")}
      esac
      ;;
  esac
  return ret
}

if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

function afterCommand({ name, options, arguments: ofCommand }: CompletedCommand): string {
  const specs = [...options.map(option), ...ofCommand.map(argument)];
  return `        ${name})
          _arguments -s -S \\
${specs.map((spec) => `            ${spec}`).join(" \\\n")} && ret=0
          ;;`;
}

/** `(-h --help)` excludes what says the same; `*` lets it stand again. */
function option({ flags, description, value, isRepeatable }: CompletedOption): string {
  const excluded = isRepeatable ? "'*'" : flags.length > 1 ? `'(${flags.join(" ")})'` : "";
  const named = flags.length > 1 ? `{${flags.join(",")}}` : (flags[0] ?? "");
  const follows = value === undefined ? "" : `:${escaped(value.name, ":")}:${action(value)}`;
  return `${excluded}${named}${quoted(`[${escaped(description, "[]:")}]${follows}`)}`;
}

function argument(value: CompletedArgument, index: number): string {
  const place = value.isRepeatable ? "*" : `${index + 1}`;
  return quoted(`${place}:${escaped(value.name, ":")}:${action(value)}`);
}

function action({ kind, choices }: CompletedValue): string {
  if (choices.length > 0) return `(${choices.join(" ")})`;
  if (kind === "file") return "_files";
  return kind === "directory" ? "_files -/" : " ";
}

/** The characters, and backslashes, behind a backslash. */
function escaped(text: string, characters: string): string {
  return [...text].map((each) => (each === "\\" || characters.includes(each) ? `\\${each}` : each)).join("");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
