import { inspect } from "node:util";
import t from "tap";
import { Credentials, configuredCredentials, noCredentials } from "../../../src/upstream/auth/credentials.ts";
import { basicAuth } from "../../fixtures/connected-upstream.ts";

t.test("Basic is in UTF-8", async (t) => {
  const { basic } = new Credentials("zoë", "pass:wörd");
  t.equal(Buffer.from(basic.slice("Basic ".length), "base64").toString("utf8"), "zoë:pass:wörd");
});

t.test("an identity is of one account, and shows nothing of it", async (t) => {
  const account = new Credentials("ci", "s3cret");
  t.equal(account.identity, new Credentials("ci", "s3cret").identity);
  t.not(account.identity, new Credentials("ci", "s3cret2").identity);
  t.not(new Credentials("a", 'b","c').identity, new Credentials('a","b', "c").identity);
  t.notMatch([inspect(account, { showHidden: true }), JSON.stringify(account)].join(), /s3cret/);
});

t.test("a configured account has others only when its password has changed", async (t) => {
  const auth = basicAuth("ci", "s3cret");
  const source = configuredCredentials(auth);
  const account = await source.read();
  t.equal(account, await source.read());
  t.equal(await source.renew(account as Credentials), undefined);
  const other = await source.renew(new Credentials("ci", "older"));
  t.equal(other, account);
});

t.test("no account has no others", async (t) => {
  t.equal(await noCredentials.read(), undefined);
  t.equal(await noCredentials.renew(new Credentials("a", "b")), undefined);
});
