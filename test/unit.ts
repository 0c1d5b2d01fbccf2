// Runs the unit tests, several files in one process: to start node, tap and the program costs more than most files do.
// In the result every file is a test that has its name.
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import t from "tap";

/** Few enough for the last processes to end at about the same time. */
const filesOfProcess = 8;

const root = join(import.meta.dirname, "..");

/** Test files below the project's root: of these names or in these folders, all without any. */
function unitTests(named: readonly string[]): readonly string[] {
  const files = globSync("test/**/*.test.ts", { cwd: root })
    // These need real programs, or all of the machine.
    .filter((file) => !file.startsWith("test/system/") && file !== "test/bench/quick.test.ts")
    .toSorted();
  if (named.length === 0) return files;
  const chosen = files.filter((file) => named.some((name) => file === name || file.startsWith(`${name}/`)));
  if (chosen.length === 0) throw new Error(`no unit test is named ${named.join(" or ")}`);
  return chosen;
}

function groupsOf(files: readonly string[]): readonly (readonly string[])[] {
  const groups: string[][] = [];
  for (let at = 0; at < files.length; at += filesOfProcess) groups.push(files.slice(at, at + filesOfProcess));
  return groups;
}

// Node keeps what it compiled, also for the programs that tests start.
process.env.NODE_COMPILE_CACHE ??= join(root, "node_modules/.cache/node");
// As `tap --disable-coverage` has it.
process.env._TAPJS_PROCESSINFO_COVERAGE_ = "0";

t.setTimeout(0);
// One more than there are processors: some tests wait.
t.jobs = availableParallelism() + 1;
for (const files of groupsOf(unitTests(process.argv.slice(2))))
  void t.spawn(process.execPath, [join(root, "test/fixtures/file-group.ts"), ...files], {
    name: files.length === 1 ? `${files[0]}` : `${files[0]} to ${files.at(-1)}`,
    cwd: root,
    buffered: true,
  });
