import t from "tap";
import { examples } from "../../../src/cli/help/help-text.ts";
import { program } from "../../../src/cli/program.ts";
import { commandLine } from "../../fixtures/command-line.ts";

t.test("--help reads like a manual page: groups, examples, exit codes, files, environment", async (t) => {
  const line = commandLine(["--help"]);
  t.equal(await line.exit, 0);
  const parts = [
    "Usage: entrepot [options] [command]",
    "Run a mirror:\n  serve ",
    "Ask a running mirror:\n  why ",
    "Fetch, keep and delete images:\n  warm ",
    "Completion and manual:\n  completion ",
    "Examples:\n",
    "Exit codes:\n",
    "Files:\n",
    "Environment (",
    "Only in the YAML file:\n",
  ];
  const places = parts.map((part) => line.out().indexOf(`\n${part}`));
  t.ok(line.out().startsWith(parts[0] ?? ""));
  t.same(
    places.slice(1),
    places.slice(1).toSorted((a, b) => a - b),
    "in this order",
  );
  t.notOk(places.slice(1).includes(-1));
  t.notMatch(line.out(), /\nCommands:/, "every command is in a group");
});

t.test("the examples are of commands and options that there are", async (t) => {
  const known = program(
    {
      version: "1",
      env: {},
      readFile: () => "",
      out: () => {},
      err: () => {},
      onSignal: () => () => {},
      onHarmlessSignal: () => () => {},
    },
    () => {},
  );
  for (const [example] of examples) {
    const words = example.replace(/^ENTREPOT_\S+ /, "").split(" ");
    t.equal(words[0], "entrepot");
    const name = words[1]?.startsWith("-") === false ? words[1] : "serve";
    const command = known.commands.find((each) => each.name() === name);
    if (command === undefined) {
      t.fail(`there is no command ${name}`);
      continue;
    }
    for (const word of words.filter((each) => each.startsWith("--")))
      t.ok(
        command.options.some(({ long }) => long === word),
        `${name} ${word}`,
      );
  }
});
