import t from "tap";
import { describePath } from "../../src/config/files.ts";

t.test("what looks like a path is shown", async (t) => {
  for (const text of ["/run/secrets/p", "./p", "../p", "client.key", "tls/ca-1.pem"])
    t.equal(describePath(text), JSON.stringify(text));
});

t.test("anything else may be the secret itself", async (t) => {
  for (const text of [
    "hunter2",
    "secrets/hunter2",
    "/a\nhunter2",
    "-----BEGIN PRIVATE KEY-----\nhunter2.key",
  ])
    t.notMatch(describePath(text), /hunter2/);
});
