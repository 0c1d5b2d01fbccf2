// The file of users and the rules, changed while the mirror runs.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { changesBetween } from "../../src/config/changes.ts";
import { bearer, directoryAccess, login, rule, userLine } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { loadedFrom } from "../fixtures/loading.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";
import { mirrorConfig, startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "reload" });
const path = "/v2/team/app/manifests/1";

/** A mirror that looks at a file of users, with these in it. */
async function startWithFile(t: Test, mode: "htpasswd" | "token", users: string) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const directory = t.testdir({ cache: {} });
  const file = join(directory, "users");
  await writeFile(file, users);
  const yaml = `upstream: {url: https://far.test}\naccess: {mode: ${mode}, htpasswdFile: /users}\n`;
  const { access } = loadedFrom({ yaml, files: { "/users": users } }).config;
  if (access?.htpasswd === undefined) throw new Error("no users");
  const pauses = new ManualPause();
  const mirror = await startMirror(t, upstream, {
    pause: pauses.pause,
    cache: { dir: join(directory, "cache") },
    access: { ...access, htpasswd: { ...access.htpasswd, path: file } },
  });
  return { file, pauses, mirror };
}

t.test("users come and go with their file, and a bad file changes nothing", async (t) => {
  const { file, pauses, mirror } = await startWithFile(t, "htpasswd", userLine("alice", "1"));
  const status = async (name: string, password: string) =>
    (await mirror.get(path, login(name, password))).status;
  t.equal(await status("alice", "1"), 200);
  t.equal(await status("bob", "2"), 401);
  await writeFile(file, userLine("bob", "2"));
  pauses.elapse();
  await mirror.line(({ msg }) => /the file of users has changed/.test(String(msg)));
  t.equal(await status("bob", "2"), 200);
  t.equal(await status("alice", "1"), 401, "what was remembered is forgotten");
  await writeFile(file, "bob:plain-s3cret\n");
  await eventually("it waits for the next look", () => pauses.waiting > 0);
  pauses.elapse();
  const line = await mirror.line(({ msg }) => /cannot be used: those read before stay/.test(String(msg)));
  t.match(line, { level: "error", problem: /line 1 has no bcrypt hash; write it again with htpasswd -B/ });
  t.notMatch(JSON.stringify(mirror.lines), /s3cret/);
  t.equal(await status("bob", "2"), 200);
});

t.test("a token ends with its user, or the user's password", async (t) => {
  const [alice, bob] = [userLine("alice", "1"), userLine("bob", "2")];
  const { file, pauses, mirror } = await startWithFile(t, "token", alice + bob);
  const tokenOf = async (name: string, password: string) =>
    bearer(JSON.parse((await mirror.get("/v2/token", login(name, password))).body.toString()).token);
  const tokens = { alice: await tokenOf("alice", "1"), bob: await tokenOf("bob", "2") };
  const status = async (who: "alice" | "bob") => (await mirror.get(path, tokens[who])).status;
  const change = async (lines: string): Promise<void> => {
    const before = mirror.lines.length;
    await writeFile(file, lines);
    await eventually("it waits for the next look", () => pauses.waiting > 0);
    pauses.elapse();
    await eventually("it is read", () =>
      mirror.lines.slice(before).some(({ msg }) => /the file of users has changed/.test(String(msg))),
    );
  };
  t.same([await status("alice"), await status("bob")], [200, 200]);
  await change(bob);
  t.same([await status("alice"), await status("bob")], [401, 200]);
  await change(userLine("bob", "3"));
  t.same([await status("alice"), await status("bob")], [401, 401]);
  tokens.bob = await tokenOf("bob", "3");
  t.equal(await status("bob"), 200);
});

t.test("tokens go on through a reload, and so does the key made at the start", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const files = { "/users": userLine("alice", "1") };
  const base = "upstream: {url: https://far.test}\naccess: {mode: token, htpasswdFile: /users";
  const { access } = loadedFrom({ yaml: `${base}}\n`, files }).config;
  const mirror = await startMirror(t, upstream, { access });
  const { token } = JSON.parse((await mirror.get("/v2/token", login("alice", "1"))).body.toString());
  const status = async () => (await mirror.get(path, bearer(token))).status;
  t.equal(await status(), 200);
  const config = mirrorConfig(upstream, mirror.directory, {});
  const use = (next: typeof access): void =>
    mirror.app.prepare({ ...config, access: next }, { applied: [], needRestart: [] }).apply();
  use(loadedFrom({ yaml: `${base}, rules: [{repositories: team/**}]}\n`, files }).config.access);
  t.equal(await status(), 200);
  use(loadedFrom({ yaml: `${base}, rules: [{repositories: other/**}]}\n`, files }).config.access);
  t.equal(await status(), 403, "a right ends at once");
  use(loadedFrom({ yaml: `${base}, token: {audience: another}}\n`, files }).config.access);
  t.equal(await status(), 401);
});

t.test("a reload changes mode and rules for the requests to come", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, {});
  t.equal((await mirror.get(path)).status, 200);
  const files = { "/users": userLine("alice", "1") };
  const base = "upstream: {url: https://far.test}\n";
  const open = loadedFrom({ yaml: base });
  const yaml = `${base}access: {mode: htpasswd, htpasswdFile: /users, rules: [{repositories: team/**}]}\n`;
  const named = loadedFrom({ yaml, files });
  const told = changesBetween(open, open, named).applied.map(({ text }) => text);
  t.ok(
    told.some((text) => text === "access.mode: open -> htpasswd"),
    told.join("; "),
  );
  const config = mirrorConfig(upstream, mirror.directory, {});
  const use = (access: typeof config.access): void =>
    mirror.app.prepare({ ...config, access }, { applied: [], needRestart: [] }).apply();
  use(named.config.access);
  t.equal((await mirror.get(path)).status, 401);
  t.equal((await mirror.get(path, login("alice", "1"))).status, 200);
  t.match(await mirror.line(({ user }) => user === "alice"), { status: 200, path });
  t.equal((await mirror.get("/v2/other/app/manifests/1", login("alice", "1"))).status, 403);
  use(undefined);
  t.equal((await mirror.get(path)).status, 200);
});

t.test(
  "a directory that is gone: who is remembered goes on for a minute, others are 503 and not 401",
  async (t) => {
    const upstream = await startUpstream(t);
    upstream.addImage("team/app", "1", image);
    const { access, directory } = await directoryAccess(t, { alice: "alice-pw", bob: "bob-pw" });
    const time = { now: 1_000 };
    const mirror = await startMirror(t, upstream, { access, steady: () => time.now });
    const ask = (name: string, password: string) => mirror.get(path, login(name, password));
    t.equal((await ask("alice", "alice-pw")).status, 200);
    await directory.stop();
    time.now += 59_000;
    t.equal((await ask("alice", "alice-pw")).status, 200);
    const answer = await ask("bob", "bob-pw");
    t.equal(answer.status, 503);
    t.notOk(answer.headers["www-authenticate"], "a client keeps its login");
    t.equal((await ask("bob", "guess")).status, 503);
    time.now += 1_001;
    t.equal((await ask("alice", "alice-pw")).status, 503);
    const told = mirror.lines.filter(({ msg }) => /directory of users/.test(String(msg)));
    t.equal(told.length, 1, "the same once a minute");
    t.match(told[0], { level: "error", problem: /^ldap:\/\/127\.0\.0\.1:\d+: ECONNREFUSED$/ });
    const secrets = mirror.lines.filter((line) =>
      /alice-pw|bob-pw|mirror-pw|guess/.test(JSON.stringify(line)),
    );
    t.same(secrets, []);
  },
);

t.test("a group that somebody leaves counts within the minute, a password too", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const rules = [rule({ groups: ["team"], repositories: ["team/**"] })];
  const { access, directory } = await directoryAccess(t, { alice: "alice-pw" }, { team: ["alice"] }, rules);
  const time = { now: 1_000 };
  const mirror = await startMirror(t, upstream, { access, steady: () => time.now });
  const status = async (password: string) => (await mirror.get(path, login("alice", password))).status;
  t.equal(await status("alice-pw"), 200);
  t.equal(directory.asked.length, 5);
  t.equal(await status("alice-pw"), 200);
  t.equal(directory.asked.length, 5, "nobody is asked");
  directory.entries = directory.entries.filter(({ dn }) => !dn.startsWith("cn=team"));
  time.now += 60_001;
  t.equal(await status("alice-pw"), 403);
  directory.entries = directory.entries.map((each) => ({ ...each, password: "new-pw" }));
  t.equal(await status("alice-pw"), 403, "and until then it is remembered");
  directory.entries = directory.entries.map((each) =>
    each.dn.startsWith("cn=mirror") ? { ...each, password: "mirror-pw" } : each,
  );
  time.now += 60_001;
  t.equal(await status("alice-pw"), 401);
  t.equal(await status("new-pw"), 403);
});

t.test("a reload with another directory counts for the logins to come", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const { access, directory } = await directoryAccess(t, { alice: "alice-pw" });
  const { access: next } = await directoryAccess(t, { alice: "next-pw" });
  const mirror = await startMirror(t, upstream, { access });
  const status = async (password: string) => (await mirror.get(path, login("alice", password))).status;
  t.equal(await status("alice-pw"), 200);
  const config = mirrorConfig(upstream, mirror.directory, {});
  mirror.app.prepare({ ...config, access: next }, { applied: [], needRestart: [] }).apply();
  t.equal(await status("alice-pw"), 401);
  t.equal(await status("next-pw"), 200);
  await eventually("the directory before has no connection left", () => directory.connections() === 0);
});

t.test("passthrough begins and ends with a restart: links of before go by other rules", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, {});
  const base = "upstream: {url: https://far.test}\n";
  const open = loadedFrom({ yaml: base });
  const passing = loadedFrom({ yaml: `${base}access: {mode: passthrough}\n` });
  const config = {
    ...mirrorConfig(upstream, mirror.directory, {}),
    access: passing.config.access,
  };
  const [first] = config.upstreams;
  const changes = changesBetween(open, open, passing);
  const next = { ...config, upstreams: [{ ...first, access: "passthrough" as const }] as const };
  t.throws(() => mirror.app.prepare(next, changes), /passthrough begins and ends with a restart/);
});
