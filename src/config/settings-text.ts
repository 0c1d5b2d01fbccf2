// The table of settings for people: in --help and in the README.
import { configVariable, settingKeys, settingOf } from "./settings.ts";

/** The Markdown table that stands in the README between its `configuration` markers; ends in a newline. */
export function settingsMarkdown(): string {
  const code = (text: string | undefined) => (text === undefined ? "" : `\`${text}\``);
  const rows = [
    ["", configVariable.env, undefined, configVariable.description] as const,
    ...settingKeys.map((key) => {
      const { env, default: value, description } = settingOf(key);
      return [key, env, value, description] as const;
    }),
  ].map(
    ([key, env, value, description]) =>
      `| ${code(key === "" ? undefined : key)} | ${code(env)} | ${code(value)} | ${description}. |`,
  );
  return ["| YAML key | Environment variable | Default | Meaning |", "|---|---|---|---|", ...rows, ""].join(
    "\n",
  );
}

/** One paragraph for each variable, indented, lines of at most `width` columns as far as words allow. */
export function environmentHelp(width = 100): string {
  const variables = [
    { env: configVariable.env, description: configVariable.description, default: undefined },
    ...settingKeys.map(settingOf),
  ];
  return variables
    .filter(({ env }) => env !== undefined)
    .map(({ env, description, default: value }) => {
      const sentence = value === undefined ? description : `${description} (default: ${value})`;
      return `  ${env}\n${wrap(sentence, "      ", width)}`;
    })
    .join("\n");
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
