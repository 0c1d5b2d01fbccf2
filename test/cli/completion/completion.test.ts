import { Argument, Command, Option } from "commander";
import t from "tap";
import { completionScript, shells } from "../../../src/cli/completion/completion.ts";
import { program } from "../../../src/cli/program.ts";
import { commandLine } from "../../fixtures/command-line.ts";

/** The real one; its commands are only looked at. */
const real = program(
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

for (const shell of shells) {
  t.test(`${shell}: every command and every option is in the script, hidden ones are not`, async (t) => {
    const script = completionScript(shell, real);
    const commands = real.createHelp().visibleCommands(real);
    t.ok(commands.length > 10);
    for (const command of commands) {
      t.match(script, new RegExp(`\\b${command.name()}\\b`));
      for (const { long, short } of command.options)
        for (const flag of [long, short])
          if (flag !== undefined) t.ok(hasFlag(script, shell, flag), `${command.name()} ${flag}`);
    }
    t.notMatch(script, /\bworker\b/);
    t.match(script, /\n$/);
  });

  t.test(`${shell}: entrepot completion prints the script`, async (t) => {
    const line = commandLine(["completion", shell]);
    t.equal(await line.exit, 0);
    t.equal(line.out(), completionScript(shell, real));
    t.equal(line.err(), "");
  });
}

t.test("an unknown shell is refused with those that are known", async (t) => {
  const line = commandLine(["completion", "tcsh"]);
  t.equal(await line.exit, 2);
  t.match(line.err(), /'tcsh' is invalid.* Allowed choices are bash, zsh, fish\./);
  t.equal(line.out(), "");
});

t.test("what shells would take for their own is quoted", async (t) => {
  const root = new Command("tool");
  root
    .command("odd")
    .description("what a user's [list] of a:b costs $5; and more")
    .addArgument(new Argument("<kind>").choices(["one", "two"]))
    .addOption(new Option("--file <file>", "it's a [file]: any"))
    .addOption(new Option("--gone").hideHelp());
  t.match(completionScript("zsh", root), `'odd:what a user'\\''s [list] of a\\:b costs $5'`);
  t.match(completionScript("zsh", root), `--file'[it'\\''s a \\[file\\]\\: any]:file:_files'`);
  t.match(completionScript("zsh", root), `'1:kind:(one two)'`);
  t.match(completionScript("fish", root), `-l file -r -F -d 'it\\'s a [file]: any'`);
  t.match(completionScript("fish", root), `-a 'one two'`);
  t.match(completionScript("bash", root), `_tool_files -f "$current"`);
  t.match(completionScript("bash", root), `_tool_words 'one two' "$current"`);
  for (const shell of shells) t.notMatch(completionScript(shell, root), "gone");
});

function hasFlag(script: string, shell: string, flag: string): boolean {
  const name = flag.replace(/^-+/, "");
  if (shell !== "fish") return script.includes(flag);
  return script.includes(flag.startsWith("--") ? ` -l ${name} ` : ` -s ${name} `);
}
