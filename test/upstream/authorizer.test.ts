import t from "tap";
import { Secret } from "../../src/config/secret.ts";
import { basicAuthorizer } from "../../src/upstream/authorizer.ts";
import { repository } from "../fixtures/connected-upstream.ts";

const scope = { repository };

t.test("Basic", async (t) => {
  const authorizer = basicAuthorizer({ username: "zoë", password: new Secret("pass:wörd") });
  const header = await authorizer.header(scope);
  t.equal(Buffer.from(String(header).slice("Basic ".length), "base64").toString("utf8"), "zoë:pass:wörd");
  t.equal(await authorizer.refused(scope, ['Basic realm="x"']), false, "there is nothing else to try");
});

t.test("nothing without a username", async (t) => {
  const authorizer = basicAuthorizer({ username: undefined, password: undefined });
  t.equal(await authorizer.header(scope), undefined);
});

t.test("an empty password is a password", async (t) => {
  const authorizer = basicAuthorizer({ username: "token", password: undefined });
  t.equal(await authorizer.header(scope), `Basic ${Buffer.from("token:").toString("base64")}`);
});
