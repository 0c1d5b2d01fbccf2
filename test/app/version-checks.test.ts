import t from "tap";
import { checkVersions } from "../../src/app/version-checks.ts";
import { Secret } from "../../src/ports/secret.ts";
import { basicAuth, upstreamConfig } from "../fixtures/connected-upstream.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("one line for each upstream with which something is wrong, in their order", async (t) => {
  const registry = await startUpstream(t);
  const of = (name: string, password: string) =>
    upstreamConfig(registry.url, { name, auth: basicAuth("ci", password) });
  const lines = await checkVersions([of("a", "wrong"), of("b", registry.password), of("c", "wrong")]);
  t.match(lines, [/^upstream a refused our account/, /^upstream c refused our account/]);
});

t.test("what cannot be asked at all is told, too", async (t) => {
  const registry = await startUpstream(t);
  const tls = { cert: "no certificate", key: new Secret("no key") };
  const lines = await checkVersions([upstreamConfig(registry.url, { tls }), upstreamConfig(registry.url)]);
  t.match(lines, [/^upstream main was not checked: /]);
});
