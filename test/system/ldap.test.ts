// Users and groups of OpenLDAP on the real program: clients log in, over each kind of connection, and names that look like
// something else are names.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { LdapDirectory, type LdapSettings } from "../../src/gate/ldap/ldap-directory.ts";
import { dnValue } from "../../src/gate/ldap/ldap-text.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { login, userLine } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";
import { run } from "./fixtures/child.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { groups, mirrorAccount, people, personOf, type Slapd, startSlapd } from "./fixtures/slapd.ts";
import { workDirectory } from "./fixtures/work-directory.ts";
import { startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(300_000);

const users = { alice: "alice-pw", bob: "bob-pw" };
const members = { "team-a": ["alice"], "team-b": ["bob"], everybody: ["alice", "bob"] };
const image = makeImage({ layers: [5_000], seed: "ldap" });

/** Ways to find people, groups and the server. */
const ways = {
  "a search over ldaps": ({ tlsPort, caFile }: Slapd, bindFile: string) =>
    `urls: "ldaps://127.0.0.1:${tlsPort}", caFile: ${caFile}, bindDn: "${mirrorAccount.dn}", bindPasswordFile: ${bindFile}, userBase: "${people}", groupBase: "${groups}"`,
  "a template over StartTLS, groups by memberOf": ({ port, caFile }: Slapd) =>
    `urls: ["ldap://127.0.0.1:1", "ldap://127.0.0.1:${port}"], startTls: true, caFile: ${caFile}, userDn: "uid={user},${people}", groupBase: "${groups}", memberOf: memberOf`,
} as const;

async function start(
  t: Test,
  slapd: Slapd,
  upstream: ScriptedUpstream,
  way: keyof typeof ways,
  workers: number,
): Promise<Mirror> {
  const directory = await workDirectory(t);
  const file = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, text);
    return path;
  };
  const bindFile = await file("bind", `${mirrorAccount.password}\n`);
  const robots = await file("robots", userLine("ci", "ci-pw"));
  const rules = ["a", "b"].map((team) => `    - {groups: [team-${team}], repositories: "team-${team}/**"}\n`);
  const config = await file(
    "entrepot.yaml",
    `access:\n  mode: ldap\n  ldap: {${ways[way](slapd, bindFile)}}\n  htpasswdFile: ${robots}\n  rules:\n${rules.join("")}    - {users: [ci]}\n`,
  );
  const far = { ...upstream, url: upstream.url.href };
  return workers === 1
    ? await startMirror(t, far, { config })
    : await startWorkers(t, far, workers, { config });
}

for (const [way, workers] of [
  ["a search over ldaps", 2],
  ["a template over StartTLS, groups by memberOf", 1],
] as const)
  t.test(`skopeo logs in with the right password and copies what its groups may: ${way}`, async (t) => {
    if (!requires(t, "skopeo", "slapd", "slapadd", "ldapmodify", "openssl")) return;
    const upstream = await startUpstream(t);
    for (const team of ["team-a", "team-b"]) upstream.addImage(`${team}/app`, "0", image);
    const slapd = await startSlapd(t, users, members);
    const mirror = await start(t, slapd, upstream, way, workers);
    const authFile = join(await workDirectory(t), "auth.json");
    const skopeo = (...args: string[]): Promise<string> => run("skopeo", args, { env: noInternet });
    const as = (name: string, password: string): Promise<string> =>
      skopeo("login", "--tls-verify=false", "--authfile", authFile, "-u", name, "-p", password, mirror.host);
    await t.rejects(as("alice", "wrong"), /unauthorized|invalid username\/password/i);
    await t.rejects(as("mallory", users.alice), /unauthorized|invalid username\/password/i);
    const copy = async (repository: string): Promise<string> => {
      const to = `oci:${join(await workDirectory(t), "copy")}:0`;
      const from = `docker://${mirror.host}/${repository}:0`;
      return await skopeo("copy", "--quiet", "--src-tls-verify=false", "--src-authfile", authFile, from, to);
    };
    t.match(await as("alice", users.alice), /Login Succeeded/);
    await copy("team-a/app");
    await t.rejects(copy("team-b/app"), /denied/i);
    t.match(await as("bob", users.bob), /Login Succeeded/);
    await copy("team-b/app");
    await t.rejects(copy("team-a/app"), /denied/i);
    t.match(await as("ci", "ci-pw"), /Login Succeeded/, "a robot of the file");
    await copy("team-a/app");
    await slapd.process.stop();
    await copy("team-b/app");
    const path = `${mirror.url}/v2/team-a/app/manifests/0`;
    const status = async (name: string, password: string): Promise<number> =>
      (await fetch(path, { headers: login(name, password) })).status;
    t.equal(await status("bob", "another"), 503, "nobody knows, and that is no 401");
    t.equal(await status("ci", "another"), 401, "of a robot the file knows");
    t.equal(await status("alice", users.alice), 200, "she is remembered");
    t.notMatch(mirror.process.output(), /alice-pw|bob-pw|mirror-pw|ci-pw/);
  });

t.test("names are names to OpenLDAP, whatever is in them", async (t) => {
  if (!requires(t, "slapd", "slapadd", "ldapmodify", "openssl")) return;
  const slapd = await startSlapd(t, users, members);
  const odd = [
    "a*",
    "x)(uid=alice",
    "b\\2a",
    "c,ou=people",
    'd "quoted" + e=f; <g>',
    "#h",
    "Jörg Ünal",
    "i\\",
    "名前",
    "(&(uid=*))",
  ];
  const dnOf = (name: string): string => `uid=${dnValue(name)},${people}`;
  await slapd.modify(
    odd
      .map((name) => `${personOf(dnOf(name), name, `${name}-pw`).replace("\n", "\nchangetype: add\n")}`)
      .join("\n"),
  );
  const member = odd.map((name) => `member:: ${Buffer.from(dnOf(name)).toString("base64")}\n`).join("");
  await slapd.modify(`dn: cn=everybody,${groups}\nchangetype: modify\nadd: member\n${member}`);
  const common = { startTls: false, ca: undefined, timeout: 20_000 };
  const servers = [{ host: "127.0.0.1", port: slapd.port, tls: false }];
  const account = { dn: mirrorAccount.dn, password: fixedSecret(new Secret(mirrorAccount.password)) };
  const byMember = { kind: "search", base: groups, filter: "(member={dn})", attribute: "cn" } as const;
  const settings: Readonly<Record<string, LdapSettings>> = {
    search: {
      ...common,
      servers,
      account,
      users: {
        kind: "search",
        base: people,
        filter: "(&(objectClass=person)(uid={user}))",
        attribute: "uid",
      },
      groups: byMember,
    },
    template: {
      ...common,
      servers,
      account: undefined,
      users: { kind: "template", dn: `uid={user},${people}` },
      groups: { ...byMember, kind: "attribute", attribute: "memberOf" },
    },
  };
  const hostile = [
    "*",
    "al*",
    "alice)(uid=*",
    "alice)(|(uid=*",
    "alice\\",
    "alice\\2a",
    "alice\0",
    "\0",
    `alice,${people}`,
    "alice+cn=alice",
    'alice"',
    "EXTERNAL",
    "cn=admin,dc=example",
    "{dn}",
    "",
  ];
  for (const [way, each] of Object.entries(settings)) {
    const told: string[] = [];
    const directory = new LdapDirectory(each, (problem) => told.push(problem));
    t.teardown(() => directory.close());
    const find = (name: string, password: string) => directory.find(name, Buffer.from(password));
    for (const name of odd) {
      t.same(await find(name, `${name}-pw`), { name, groups: ["everybody"] }, `${way}: ${name}`);
      t.equal(await find(name, "alice-pw"), undefined, `${way}: ${name}, another's password`);
      t.equal(await find(name, ""), undefined, `${way}: ${name}, no password`);
    }
    // OpenLDAP takes these for the same: letters, spaces at the ends, and forms of Unicode that look like others.
    for (const typed of ["ALICE", "Alice", " alice", "alice  ", "\uff41lice", "ali\u00adce"]) {
      const person = await find(typed, "alice-pw");
      t.equal(person?.name ?? "alice", "alice", `${way}: ${JSON.stringify(typed)}`);
    }
    t.equal((await find("ALICE", "alice-pw"))?.name, "alice", way);
    for (const name of hostile) {
      t.equal(await find(name, "alice-pw"), undefined, `${way}: ${JSON.stringify(name)}`);
      t.equal(await find(name, "admin-pw"), undefined, `${way}: ${JSON.stringify(name)}`);
    }
    t.same(told, []);
  }
});
