import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import { settingKeys, settingOf } from "../../src/config/settings.ts";
import { environmentHelp, settingsMarkdown } from "../../src/config/settings-text.ts";

const readme = new URL("../../README.md", import.meta.url);

t.test(
  "the table of the README is the table of the code",
  { skip: !existsSync(readme) && "no README yet" },
  async (t) => {
    const [, between] =
      /<!-- configuration -->\n([\s\S]*?)<!-- \/configuration -->/.exec(readFileSync(readme, "utf8")) ?? [];
    t.equal(
      between?.trim(),
      settingsMarkdown().trim(),
      "paste what settingsMarkdown() gives between the markers",
    );
  },
);

t.test("every setting is in the table and every variable in the help", async (t) => {
  const table = settingsMarkdown().trimEnd().split("\n");
  t.equal(table.length, settingKeys.length + 3, "a heading of two lines, and ENTREPOT_CONFIG");
  const help = environmentHelp();
  for (const key of settingKeys) {
    const { env, default: value } = settingOf(key);
    const row = table.find((line) => line.startsWith(`| \`${key}\` |`)) ?? "";
    t.ok(row.includes(env ?? ""), key);
    t.ok(row.includes(value ?? ""), key);
    t.equal(row.split(/(?<!\\)\|/).length, 6, "four columns");
    if (env !== undefined) t.ok(help.includes(`  ${env}\n`), env);
  }
  t.ok(help.includes("ENTREPOT_CONFIG"));
});

t.test("help keeps to its width", async (t) => {
  for (const line of environmentHelp(80).split("\n")) t.ok(line.length <= 80, line);
});

t.test("variables have one name each, made in one way", async (t) => {
  const names = settingKeys.map((key) => settingOf(key).env).filter((name) => name !== undefined);
  t.equal(new Set(names).size, names.length);
  for (const name of names) t.match(name, /^ENTREPOT_[A-Z]+(?:_[A-Z]+)*$/);
});
