import t from "tap";
import { renderConfig } from "../../src/config/print.ts";
import { configOf, loadedFrom, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const files = { "/p": "hunter2\n", "/t": "a-token-of-this-mirror\n", "/short": "token" };

t.test("a password, a token, from the file or the environment; nothing unless set", async (t) => {
  t.equal(configOf({ env: upstreamUrl }).opsAccess, undefined);
  const yaml = "opsAccess: {username: ann, passwordFile: /p, tokenFile: /t}\n";
  const { opsAccess } = configOf({ yaml, env: upstreamUrl, files });
  t.equal(opsAccess?.username, "ann");
  t.equal((await opsAccess?.password?.read())?.reveal(), "hunter2");
  t.equal((await opsAccess?.token?.read())?.reveal(), "a-token-of-this-mirror");
  const env = { ...upstreamUrl, ENTREPOT_OPS_ACCESS_PASSWORD: "hunter2" };
  t.equal((await configOf({ env }).opsAccess?.password?.read())?.reveal(), "hunter2");
  t.notMatch(renderConfig(loadedFrom({ env })), /hunter2/);
});

t.test("a user without a password, both of a kind, and a token that could be guessed", async (t) => {
  const problems = (yaml: string) => problemsOf({ yaml, env: upstreamUrl, files });
  t.match(problems("opsAccess: {username: ann}"), [/a user name without a password/]);
  t.match(problems("opsAccess: {password: a, passwordFile: /p}"), [/only one of the two/]);
  t.match(problems("opsAccess: {token: hunter2}"), [/a value that is not shown, expected a token of 16/]);
  t.match(problems("opsAccess: {tokenFile: /short}"), [/other content \(not shown\)/]);
});
