// The table of settings for people: in --help and in the README.
import { configVariable, type SettingKey, settingKeys, settingOf } from "./settings.ts";

const inFileOnly = settingKeys.filter((key) => settingOf(key).env === undefined);

const severalUpstreams =
  "Several registries: `upstreams` instead of `upstream`, a list of mappings with the same keys, each with a `name`; the first is the default";

/** The Markdown that stands in the README between its `configuration` markers; ends in a newline. */
export function settingsMarkdown(): string {
  const rows = settingKeys
    .filter((key) => !inFileOnly.includes(key))
    .map((key) => {
      const { env, default: value, description } = settingOf(key);
      return row(code(key), code(env), code(value), `${description}.`);
    });
  const fileRows = inFileOnly.map((key) => {
    const { default: value, description } = settingOf(key);
    return row(code(key), code(value), `${description}.`);
  });
  return [
    row("YAML key", "Environment variable", "Default", "Meaning"),
    "|---|---|---|---|",
    row("", code(configVariable.env), "", `${configVariable.description}.`),
    ...rows,
    "",
    `Only in the file. ${severalUpstreams}.`,
    "",
    row("YAML key", "Default", "Meaning"),
    "|---|---|---|",
    ...fileRows,
    "",
  ].join("\n");
}

function row(...cells: string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function code(text: string | undefined): string {
  return text === undefined ? "" : `\`${text}\``;
}

/** One paragraph for each variable, indented, lines of at most `width` columns as far as words allow. */
export function environmentHelp(width = 100): string {
  const paragraphs = settingKeys.flatMap((key) => {
    const { env } = settingOf(key);
    return env === undefined ? [] : paragraph(env, sentence(key), width);
  });
  return [paragraph(configVariable.env, configVariable.description, width), ...paragraphs].join("\n");
}

/** The same for each key that has no variable. */
export function fileHelp(width = 100): string {
  const several = paragraph("upstreams", severalUpstreams.replaceAll("`", ""), width);
  return [several, ...inFileOnly.map((key) => paragraph(key, sentence(key), width))].join("\n");
}

function sentence(key: SettingKey): string {
  const { default: value, description } = settingOf(key);
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
