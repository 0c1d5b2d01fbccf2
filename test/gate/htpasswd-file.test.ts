// The file of users is looked at by itself; one that cannot be used changes nothing.
import { mkdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { parseHtpasswd } from "../../src/gate/htpasswd.ts";
import { HtpasswdFile } from "../../src/gate/htpasswd-file.ts";
import { userLine } from "../fixtures/access.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";

const one = userLine("alice", "1");
const two = `${one}${userLine("bob", "2")}`;

async function setUp(t: Test) {
  const path = join(t.testdir(), "htpasswd");
  await writeFile(path, one);
  const told: string[] = [];
  const parsed = parseHtpasswd(one);
  if ("problem" in parsed) throw new Error(parsed.problem);
  const file = new HtpasswdFile({
    path,
    name: "the file",
    users: parsed.users,
    changed: (users) => told.push([...users.keys()].join(" ")),
    unusable: (problem) => told.push(problem),
  });
  return { path, file, told };
}

t.test("a change is told once, however it is made", async (t) => {
  const { path, file, told } = await setUp(t);
  await file.look();
  t.same(told, [], "the users it was begun with");
  await writeFile(path, two);
  await file.look();
  await file.look();
  t.same(told.splice(0), ["alice bob"]);
  await writeFile(`${path}.new`, one);
  await rename(`${path}.new`, path);
  await file.look();
  t.same(told.splice(0), ["alice"], "another file in its place");
  const same = one.replace("alice", "carol");
  await writeFile(path, same);
  await utimes(path, 1, 1);
  await file.look();
  t.same(told.splice(0), ["carol"], "of the same size, with an old time");
  await writeFile(`${path}.target`, two);
  await rm(path);
  await symlink(`${path}.target`, path);
  await file.look();
  t.same(told.splice(0), ["alice bob"], "a link, as Kubernetes has it");
  await writeFile(path, `# a comment\n${two}`);
  await file.look();
  t.same(told, [], "nothing that matters");
});

t.test("a bad file is told once, and what was good stays until there is a better one", async (t) => {
  const { path, file, told } = await setUp(t);
  await writeFile(path, "alice:plain\n");
  await file.look();
  await file.look();
  t.match(told.splice(0), [/^the file: line 1 has no bcrypt hash; write it again with htpasswd -B/]);
  await writeFile(path, "");
  await file.look();
  t.match(told.splice(0), [/^the file: it has no users/]);
  await rm(path);
  await file.look();
  await file.look();
  t.same(told.splice(0), ["the file cannot be read (ENOENT)"]);
  await mkdir(path);
  await file.look();
  t.same(told.splice(0), ["the file is no regular file"]);
  await rm(path, { recursive: true });
  await writeFile(path, one);
  await file.look();
  t.same(told, [], "the users it had all the time");
  await writeFile(path, two);
  await file.look();
  t.same(told, ["alice bob"]);
});

t.test("it is looked at every second, until it is closed", async (t) => {
  const { path, file, told } = await setUp(t);
  const pauses = new ManualPause();
  const closing = new AbortController();
  const watched = file.watch(pauses.pause, closing.signal);
  await eventually("it waits", () => pauses.waiting === 1);
  await writeFile(path, two);
  t.same(told, []);
  pauses.elapse();
  await eventually("it has looked", () => told.length === 1);
  await eventually("it waits again", () => pauses.waiting === 1);
  t.same(pauses.asked, [1_000, 1_000]);
  closing.abort();
  await watched;
});
