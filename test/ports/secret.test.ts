import { inspect } from "node:util";
import t from "tap";
import { Secret } from "../../src/ports/secret.ts";

t.test("no way of printing a secret prints it", async (t) => {
  const secret = new Secret("hunter2");
  const all = [
    `${secret}`,
    String(secret),
    JSON.stringify({ secret }),
    inspect({ secret }, { showHidden: true, depth: null }),
    Object.entries(secret).join(),
  ];
  t.notMatch(all.join("\n"), /hunter2/);
  t.equal(secret.reveal(), "hunter2");
});
