import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import { CredentialHelper } from "../../../src/upstream/auth/credential-helper.ts";
import type { Credentials } from "../../../src/upstream/auth/credentials.ts";
import { connectUpstream, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import { helperProgram, printAccount } from "../../fixtures/helper-program.ts";
import { makeImage } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../../fixtures/token-server.ts";

const registryName = "https://registry.example.com";
const lifetime = 60_000;

function setUp(t: Test, script = printAccount("ci", "s3cret"), timeout = 10_000) {
  const clock = new ManualClock();
  const program = helperProgram(t.testdir(), script);
  const auth = { kind: "helper", program: program.path, registry: registryName, lifetime } as const;
  const helper = new CredentialHelper(auth, { upstream: "main", clock: clock.read, timeout });
  t.teardown(() => helper.close());
  const read = async () => (await helper.read()).reveal();
  return { clock, program, auth, helper, read };
}

t.test("the program is asked for the registry by its protocol", async (t) => {
  const { program, helper } = setUp(t);
  const account = await helper.read();
  t.equal(account.username, "ci");
  t.equal(account.reveal(), "s3cret");
  t.equal(program.asked, `get\n${registryName}`);
});

t.test("one run serves every request for its lifetime", async (t) => {
  const { program, read, clock } = setUp(t);
  t.same([...new Set(await Promise.all(Array.from({ length: 50 }, read)))], ["s3cret"]);
  clock.advance(lifetime - 1);
  await read();
  t.equal(program.runs, 1);
  program.become(printAccount("ci", "next"));
  clock.advance(1);
  t.equal(await read(), "next");
  t.equal(program.runs, 2);
});

t.test("refused credentials make it run again, once for all requests that were refused", async (t) => {
  const { program, helper } = setUp(t);
  const refused = await helper.read();
  program.become(printAccount("ci", "next"));
  const renewed = await Promise.all([helper.renew(refused), helper.renew(refused)]);
  t.same(
    renewed.map((account) => account?.reveal()),
    ["next", "next"],
  );
  t.equal((await helper.renew(refused))?.reveal(), "next", "a late request gets what is known by now");
  t.equal(program.runs, 2);
  t.equal(await helper.renew((await helper.read()) as Credentials), undefined, "the same again is of no use");
  t.equal(program.runs, 3);
});

t.test("every failure is an error of our account, and shows nothing the program printed", async (t) => {
  const scripts: Record<string, [string, RegExp]> = {
    "an exit code": ["echo s3cret; echo s3cret >&2; exit 3", /ended with exit code 3$/],
    "an unknown registry": [
      "echo 'credentials not found in native keychain'; exit 1",
      /knows no credentials for the registry$/,
    ],
    garbage: ["echo s3cret", /something else than a user name and a secret in JSON$/],
    nothing: ["", /something else than a user name/],
    "JSON of another kind": ["echo null", /something else than a user name/],
    "a secret that is none": [`echo '{"Username":"s3cret","Secret":7}'`, /something else than a user name/],
    "an empty secret": [printAccount("ci", ""), /cannot be used$/],
    "an empty name": [printAccount("", "s3cret"), /cannot be used$/],
    "a name with a colon": [printAccount("c:i", "s3cret"), /cannot be used$/],
    "a line break": [printAccount("ci", "s3cret\r\nX: y"), /cannot be used$/],
    "a signal": ["kill -TERM $$", /failed \(SIGTERM\)$/],
    "too much": ["head -c 70000 /dev/zero | tr '\\0' x", /printed more than 65536 bytes$/],
  };
  for (const [name, [script, message]] of Object.entries(scripts)) {
    const { helper } = setUp(t, script);
    const error = await upstreamError(helper.read());
    t.match(error, { code: "auth", message }, name);
    t.match(error.message, /^upstream main: its credential helper \//, name);
    t.notMatch(inspect(error, { showHidden: true, depth: 9 }), /s3cret/, name);
  }
});

t.test("a program that hangs is ended, and what it leaves behind not waited for", async (t) => {
  const { helper, program } = setUp(t, "exec sleep 1000", 2_000);
  t.match(await upstreamError(helper.read()), { code: "auth", message: /gave no answer in 2000 ms$/ });
  const left = join(t.testdirName, "left");
  program.become(`sleep 1000 & echo $! > '${left}'; wait`);
  t.match(await upstreamError(helper.read()), { code: "auth" }, "it was given another chance");
  const orphan = Number(readFileSync(left, "utf8"));
  t.ok(process.kill(orphan, 0), "what it started still runs");
  process.kill(orphan);
  t.equal(program.runs, 2);
});

t.test("a program that is not there, or may not be run", async (t) => {
  const { auth } = setUp(t);
  const file = join(t.testdirName, "plain");
  writeFileSync(file, "");
  for (const [program, message] of [
    [
      "not-installed-anywhere",
      /its credential helper docker-credential-not-installed-anywhere is not there$/,
    ],
    [file, /may not be run$/],
  ] as const) {
    const helper = new CredentialHelper({ ...auth, program }, { upstream: "main", clock: Date.now });
    t.match(await upstreamError(helper.read()), { code: "auth", message });
  }
});

t.test("a program that does not read its input is no failure", async (t) => {
  const program = join(t.testdir(), "deaf");
  writeFileSync(program, `#!/bin/sh\nexec 0<&-\n${printAccount("ci", "s3cret")}\n`, { mode: 0o755 });
  const auth = { kind: "helper", program, registry: registryName, lifetime } as const;
  const deaf = new CredentialHelper(auth, { upstream: "main", clock: Date.now });
  t.equal((await deaf.read()).reveal(), "s3cret");
});

t.test("closing ends a running program", async (t) => {
  const { helper } = setUp(t, "exec sleep 1000");
  const read = upstreamError(helper.read());
  helper.close();
  t.match(await read, { code: "auth" });
});

const image = makeImage({ layers: [1000], seed: "credential-helper" });

t.test("upstream gets what the helper says, and a new one after a 401", async (t) => {
  const { auth, program } = setUp(t, printAccount("ci", "old"));
  const registry = await startUpstream(t);
  registry.password = "old";
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { auth });
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  registry.password = "new";
  program.become(printAccount("ci", "new"));
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.equal(program.runs, 2);
  t.equal(registry.count({ status: 401 }), 1);
});

t.test("a helper that fails is not the same as no account", async (t) => {
  const { auth } = setUp(t, "exit 1");
  const registry = await startUpstream(t, { anonymous: true });
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { auth });
  t.match(await upstreamError(upstream.headManifest(repository, tagged("1"))), { code: "auth" });
  t.equal(registry.count(), 0);
});

t.test("an identity token goes to the token server alone, as a refresh token", async (t) => {
  const { auth } = setUp(t, printAccount("<token>", "identity"));
  const tokens = await startTokenServer(t, { identityToken: "identity" });
  const registry = await startUpstream(t, { bearer: tokens });
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { auth, tokenRealms: [tokens.realm.host] });
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.match(
    registry.requests.map(({ kind, headers }) => [kind, headers.authorization]),
    [
      ["ping", undefined],
      ["manifest", /^Bearer /],
    ],
  );
  t.equal(tokens.requests.length, 1);
  t.equal(tokens.requests[0]?.method, "POST");
  t.same(Object.fromEntries(tokens.requests[0]?.fields ?? []), {
    grant_type: "refresh_token",
    refresh_token: "identity",
    client_id: "entrepot",
    service: "registry.example.com",
    scope: "repository:team/app:pull",
  });
  registry.bearer = undefined;
  t.match(
    await upstreamError(upstream.headManifest(repository, tagged("1"))),
    { code: "auth" },
    "and no Basic",
  );
});

t.test("a helper's new credentials are tried when the token server refuses the old ones", async (t) => {
  const { auth, program } = setUp(t, printAccount("ci", "old"));
  const tokens = await startTokenServer(t, { password: "old" });
  const registry = await startUpstream(t, { bearer: tokens });
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { auth, tokenRealms: [tokens.realm.host] });
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  tokens.password = "new";
  tokens.expireAll();
  program.become(printAccount("ci", "new"));
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.equal(program.runs, 2);
});
