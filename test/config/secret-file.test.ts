import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { secretFile } from "../../src/config/secret-file.ts";
import { Secret } from "../../src/ports/secret.ts";

/** A secret file with a clock: `at` moves it on by a second and reads. */
function watch(path: string, initial = "first") {
  let now = 1_000_000;
  const source = secretFile({
    path,
    name: "the file",
    initial: new Secret(initial),
    parse: (text) => (text.trim() === "" ? undefined : new Secret(text.trim())),
    clock: () => now,
  });
  const read = async () => (await source.read()).reveal();
  const later = async (milliseconds = 1_000) => {
    now += milliseconds;
    return await read();
  };
  return { source, read, later };
}

t.test("a file that is rewritten is read again, within a second", async (t) => {
  const path = join(t.testdir({ secret: "first\n" }), "secret");
  const { read, later } = watch(path);
  t.equal(await read(), "first");
  writeFileSync(path, "second\n");
  t.equal(await later(999), "first", "not looked at again so soon");
  t.equal(await later(1), "second");
});

t.test("a version of the same size and time is another version", async (t) => {
  const path = join(t.testdir({ secret: "first" }), "secret");
  utimesSync(path, 1, 1);
  const { read, later } = watch(path);
  t.equal(await read(), "first");
  writeFileSync(path, "other");
  utimesSync(path, 1, 1);
  t.equal(await later(), "other");
});

t.test("a file put in its place by rename", async (t) => {
  const directory = t.testdir({ secret: "first", next: "second" });
  const { read, later } = watch(join(directory, "secret"));
  t.equal(await read(), "first");
  renameSync(join(directory, "next"), join(directory, "secret"));
  t.equal(await later(), "second");
});

t.test("a directory swapped by a symbolic link, as Kubernetes does", async (t) => {
  const directory = t.testdir({ v1: { password: "first" }, v2: { password: "second" } });
  const link = (name: string, to: string) => symlinkSync(to, join(directory, name));
  link("..data", "v1");
  link("password", "..data/password");
  const { read, later } = watch(join(directory, "password"));
  t.equal(await read(), "first");
  link("..next", "v2");
  renameSync(join(directory, "..next"), join(directory, "..data"));
  rmSync(join(directory, "v1"), { recursive: true });
  t.equal(await later(), "second");
});

t.test("while there is nothing better the last good secret stays, and it says why", async (t) => {
  const directory = t.testdir({ secret: "first" });
  const path = join(directory, "secret");
  const { source, read, later } = watch(path);
  t.equal(await read(), "first");
  t.equal(source.problem, undefined);
  writeFileSync(path, "");
  t.equal(await later(), "first");
  t.match(source.problem, /the file has become empty/);
  rmSync(path);
  t.equal(await later(), "first");
  t.match(source.problem, /the file cannot be read \(no such file\)/);
  mkdirSync(path);
  t.equal(await later(), "first");
  t.match(source.problem, /the file is no regular file/);
  rmSync(path, { recursive: true });
  writeFileSync(path, "x".repeat(64 * 1024 + 1));
  t.equal(await later(), "first");
  t.match(source.problem, /something else/);
  writeFileSync(path, "second");
  t.equal(await later(), "second");
  t.equal(source.problem, undefined, "and all is well again");
});

t.test("a pipe is not waited for", async (t) => {
  const path = join(t.testdir(), "secret");
  execFileSync("mkfifo", [path]);
  const { source, read } = watch(path);
  t.equal(await read(), "first");
  t.match(source.problem, /no regular file/);
});

t.test("many readers at once make one look", async (t) => {
  const path = join(t.testdir({ secret: "second" }), "secret");
  const { source } = watch(path);
  const secrets = await Promise.all(Array.from({ length: 50 }, () => source.read()));
  t.same(
    [...new Set(secrets)].map((secret) => secret.reveal()),
    ["second"],
  );
});

t.test("the same content after a change of the file is the same secret", async (t) => {
  const path = join(t.testdir({ secret: "first" }), "secret");
  const { source, later } = watch(path);
  const before = await source.read();
  chmodSync(path, 0o400);
  await later();
  t.equal(await source.read(), before);
});

t.test("a clock that is set back does not stop the looking", async (t) => {
  const path = join(t.testdir({ secret: "first" }), "secret");
  const { read, later } = watch(path);
  t.equal(await read(), "first");
  writeFileSync(path, "second");
  t.equal(await later(-3_600_000), "second");
});
