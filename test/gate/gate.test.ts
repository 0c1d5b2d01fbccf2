import t from "tap";
import { AccessRules } from "../../src/gate/access-rules.ts";
import type { Directory } from "../../src/gate/directory.ts";
import { Gate } from "../../src/gate/gate.ts";
import { Passwords } from "../../src/gate/passwords.ts";
import { login } from "../fixtures/access.ts";

const client = { address: "10.0.0.1", network: "10.0.0.1" };

function passwordsOf(directory: Directory): Passwords {
  return new Passwords({ directory, running: 1, clock: () => 0 });
}

t.test("a directory gives nobody the name of a workload", async (t) => {
  const directory = passwordsOf({
    find: async (name) => ({ name: name === "mallory" ? "github:repo:acme/app" : name }),
  });
  const workloads = passwordsOf({ find: async () => ({ name: "github:repo:acme/app" }) });
  const rules = new AccessRules([]);
  const gate = new Gate({ rules, passwords: directory, workloads });
  const nameOf = async (user: string, of = gate) => {
    const admitted = await of.admit(login(user, "x").authorization, client);
    return typeof admitted === "string" ? admitted : admitted.caller.name;
  };
  // Twice: what is remembered is judged as well.
  for (let round = 0; round < 2; round++) {
    t.equal(await nameOf("alice"), "alice");
    t.equal(await nameOf("mallory"), "wrong");
    t.equal(await nameOf("oidc"), "github:repo:acme/app");
  }
  t.equal(
    await nameOf("mallory", new Gate({ rules, passwords: directory })),
    "github:repo:acme/app",
    "a name as any other",
  );
});
