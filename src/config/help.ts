// The settings for people: in --help and in docs/configuration.md.
import { configVariable, type Setting, settings, variablePrefix } from "./settings.ts";

const inFile = settings.filter(({ env }) => env === undefined);
const inEnvironment = settings.filter(({ env }) => env !== undefined);

/** The Markdown that stands in docs/configuration.md between its `configuration` markers; ends in a newline. */
export function settingsMarkdown(): string {
  return [
    row("YAML key", "Environment variable", "Default", "Meaning"),
    "|---|---|---|---|",
    row("", code(configVariable.env), "", `${configVariable.description}.`),
    ...inEnvironment.map((each) =>
      row(code(each.key), code(variable(each)), code(each.default), `${each.description}.`),
    ),
    "",
    "In a variable, items of a list are separated by commas; a list of mappings is JSON, such as",
    '`ENTREPOT_UPSTREAMS=[{"name":"hub","url":"https://registry-1.docker.io"}]`.',
    "",
    "Only in the file:",
    "",
    row("YAML key", "Default", "Meaning"),
    "|---|---|---|",
    ...inFile.map((each) => row(code(each.key), code(each.default), `${each.description}.`)),
    "",
  ].join("\n");
}

function variable({ env }: Setting): string {
  return `${variablePrefix}${env}`;
}

function row(...cells: string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function code(text: string | undefined): string {
  return text === undefined ? "" : `\`${text}\``;
}

/** One paragraph for each variable, indented, lines of at most `width` columns as far as words allow. */
export function environmentHelp(width = 100): string {
  const paragraphs = inEnvironment.map((each) => paragraph(variable(each), sentence(each), width));
  return [paragraph(configVariable.env, configVariable.description, width), ...paragraphs].join("\n");
}

/** The same for each key that has no variable. */
export function fileHelp(width = 100): string {
  return inFile.map((each) => paragraph(each.key, sentence(each), width)).join("\n");
}

function sentence({ default: value, description = "" }: Setting): string {
  return value === undefined ? description : `${description} (default: ${value})`;
}

function paragraph(name: string, text: string, width: number): string {
  return `  ${name}\n${wrap(text, "      ", width)}`;
}

function wrap(text: string, indent: string, width: number): string {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(" ")) {
    if (line !== indent && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent;
    }
    line += line === indent ? word : ` ${word}`;
  }
  return [...lines, line].join("\n");
}
