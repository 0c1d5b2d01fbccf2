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

/** A setting by the name it has there, and its meaning with its default. */
export interface NamedMeaning {
  readonly name: string;
  readonly meaning: string;
}

/** The environment variables, that of the configuration file first. */
export const variableMeanings: readonly NamedMeaning[] = [
  { name: configVariable.env, meaning: configVariable.description },
  ...inEnvironment.map((each) => ({ name: variable(each), meaning: sentence(each) })),
];

/** The keys that have no variable. */
export const keyMeanings: readonly NamedMeaning[] = inFile.map((each) => ({
  name: each.key,
  meaning: sentence(each),
}));

/** One paragraph for each, indented, lines of at most `width` columns as far as words allow. */
export function meaningsHelp(meanings: readonly NamedMeaning[], width = 100): string {
  return meanings.map(({ name, meaning }) => `  ${name}\n${wrap(meaning, "      ", width)}`).join("\n");
}

function sentence({ default: value, description = "" }: Setting): string {
  return value === undefined ? description : `${description} (default: ${value})`;
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
