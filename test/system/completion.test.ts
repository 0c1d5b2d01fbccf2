// The completions as the shells themselves take them.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { attempt, run } from "./fixtures/child.ts";
import { requires } from "./fixtures/requires.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** A directory with the script and a file whose name has a blank in it. */
async function scriptFor(t: Test, shell: string): Promise<{ directory: string; script: string }> {
  const directory = t.testdir({ "my images.yaml": "", below: {} });
  const script = join(directory, `entrepot.${shell}`);
  await writeFile(script, await run(process.execPath, [main, "completion", shell]));
  return { directory, script };
}

t.test("bash", async (t) => {
  if (!requires(t, "bash")) return;
  const { directory, script } = await scriptFor(t, "bash");
  const driver = join(directory, "driver");
  await writeFile(
    driver,
    `source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_entrepot
printf '%s\\n' "\${COMPREPLY[@]}"
`,
  );
  const complete = async (...words: readonly string[]) => {
    const args = ["--norc", "-u", driver, script, "entrepot", ...words];
    const { output, code } = await attempt("bash", args, { cwd: directory });
    t.equal(code, 0, output);
    return output.split("\n").filter((line) => line !== "");
  };
  t.same(await complete("re"), ["readiness", "refresh"]);
  t.same(await complete("warm", "--from-"), ["--from-manifests", "--from-node"]);
  t.same(await complete("warm", "--from", "my"), ["my images.yaml"], "files, with blanks");
  t.same(await complete("--config", "my"), ["my images.yaml"], "options of serve without it");
  t.same(await complete("completion", ""), ["bash", "zsh", "fish"]);
  t.same(await complete("help", "pu"), ["purge"]);
  t.same(await complete("why", "--ops", ""), [], "what only the user knows");
  t.same(await complete("savings", "--csv", "--mo"), ["--month"]);
  const told = await run("bash", ["--norc", "-euc", 'source "$0"; complete -p entrepot', script]);
  t.equal(told.trim(), "complete -F _entrepot entrepot");
});

t.test("zsh", async (t) => {
  if (!requires(t, "zsh")) return;
  const { directory, script } = await scriptFor(t, "zsh");
  // What a Tab shows in a terminal: prints it until all that is expected has come.
  const driver = join(directory, "driver");
  await writeFile(
    driver,
    `zmodload zsh/zpty
zpty z 'TERM=dumb zsh -f -i'
zpty -w z "stty rows 100 cols 200; PROMPT= ; autoload -Uz compinit; compinit -D -u; source $1; setopt nobeep autolist; LISTMAX=0; print '<re''ady>'"
zpty -r -m z line '*<ready>*'
zpty -n -w z "$2"$'\\t'
shift 2
while zpty -r z line; do
  print -r -- $line
  all+=$line
  for word; do [[ $all == *$word* ]] || continue 2; done
  exit 0
done
exit 1
`,
  );
  const shows = async (typed: string, ...expected: readonly string[]) => {
    const { code, output } = await attempt("zsh", ["-f", driver, script, typed, ...expected], {
      cwd: directory,
      timeout: 20_000,
    });
    t.equal(code, 0, `${typed}: ${output}`);
    return output;
  };
  const first = await shows("entrepot re", "readiness", "refresh");
  t.match(first, /refresh +-- have a running mirror ask again now/);
  const options = await shows("entrepot warm --from-", "from-manifests", "from-node");
  t.notMatch(options, "dry-run", "those of other commands are not offered");
  await shows("entrepot warm --from ", "images.yaml", "below/");
  await shows("entrepot --config ", "images.yaml", "below/");
  await shows("entrepot -", "offline", "config", "version");
  await shows("entrepot completion ", "bash", "fish", "zsh");
});

t.test("fish", async (t) => {
  if (!requires(t, "fish")) return;
  const { directory, script } = await scriptFor(t, "fish");
  const complete = async (typed: string) => {
    const args = ["--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, typed];
    const { code, output } = await attempt("fish", args, { cwd: directory, env: { HOME: directory } });
    t.equal(code, 0, output);
    return output
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => line.split("\t", 1)[0]);
  };
  t.same(await complete("entrepot re"), ["readiness", "refresh"]);
  t.same(await complete("entrepot warm --from-"), ["--from-manifests", "--from-node"]);
  t.same(await complete("entrepot warm --from my"), ["my images.yaml"]);
  t.same(await complete("entrepot --config my"), ["my images.yaml"]);
  t.same(await complete("entrepot completion "), ["bash", "fish", "zsh"]);
  t.same(await complete("entrepot help pu"), ["purge"]);
  t.same(await complete("entrepot why x"), []);
  t.match(await readFile(script, "utf8"), /^# fish completion/);
});
