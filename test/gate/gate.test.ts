import t from "tap";
import { AccessRules, forEverybody } from "../../src/gate/access-rules.ts";
import type { Directory } from "../../src/gate/directory.ts";
import { Gate } from "../../src/gate/gate.ts";
import { Passwords } from "../../src/gate/passwords.ts";
import { BearerTokens } from "../../src/gate/token/bearer-tokens.ts";
import { OwnTokens } from "../../src/gate/token/own-tokens.ts";
import { makeTokenKey } from "../../src/gate/token/token-key.ts";
import { fixedSecret } from "../../src/ports/secret.ts";
import { login } from "../fixtures/access.ts";

const client = { address: "10.0.0.1", network: "10.0.0.1" };

function passwordsOf(directory: Directory): Passwords {
  return new Passwords({ directory, running: 1, clock: () => 0 });
}

function ownTokens() {
  const clocks = { clock: () => 0, steady: () => 0 };
  const own = new OwnTokens({
    key: fixedSecret(makeTokenKey()),
    audience: "entrepot",
    lifetime: 300_000,
    stamp: () => undefined,
    ...clocks,
  });
  const bearer = new BearerTokens({ prove: (token) => own.prove(token), ...clocks });
  return { own, tokens: { bearer, service: { service: "entrepot", realm: undefined }, own } };
}

t.test("a directory gives nobody the name of a workload", async (t) => {
  const directory = passwordsOf({
    find: async (name) => ({ name: name === "mallory" ? "github:repo:acme/app" : name }),
  });
  const workloads = {
    passwords: passwordsOf({ find: async () => ({ name: "github:repo:acme/app" }) }),
    names: new Set(["github"]),
  };
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

t.test("a directory puts nobody into a group of workloads, in a token neither", async (t) => {
  const groups = ["github:repository=acme/app", "role:dev", "dev"];
  const directory = passwordsOf({ find: async (name) => ({ name, groups }) });
  const ofWorkload = { name: "github:repo:acme/app", groups: ["github:repository=acme/app"] };
  const workloads = {
    passwords: passwordsOf({ find: async () => ofWorkload }),
    names: new Set(["github"]),
  };
  const rules = new AccessRules([{ ...forEverybody(["pull"]), groups }]);
  const { tokens, own } = ownTokens();
  const gate = new Gate({ rules, passwords: directory, workloads, tokens });
  const groupsOf = async (authorization: string, of = gate) => {
    const admitted = await of.admit(authorization, client);
    return typeof admitted === "string" ? admitted : admitted.caller.groups;
  };
  const mallory = login("mallory", "x").authorization;
  t.same(await groupsOf(mallory), ["role:dev", "dev"]);
  t.same(await groupsOf(login("oidc", "x").authorization), ofWorkload.groups);
  t.same(await groupsOf(mallory, new Gate({ rules, passwords: directory })), groups, "groups as any other");
  for (const [name, has] of [
    ["mallory", ["role:dev", "dev"]],
    ["oidc", ofWorkload.groups],
  ] as const) {
    const issued = await gate.issue(Buffer.from(`${name}:x`).toString("base64"), client, undefined);
    if (typeof issued === "string") throw new Error(issued);
    t.same((await own.prove(issued.token))?.person?.groups, has);
    t.same(await groupsOf(`Bearer ${issued.token}`), has);
  }
});

t.test("another token server gives nobody the name of a workload", async (t) => {
  const nobody = passwordsOf({ find: async () => undefined });
  const workloads = { passwords: nobody, names: new Set(["github"]) };
  const rules = new AccessRules([]);
  const gateFor = (name: string, more = {}) => {
    const prove = async () => ({ person: { name }, access: undefined, endsAt: 60_000 });
    const bearer = new BearerTokens({ prove, clock: () => 0, steady: () => 0 });
    const service = { service: "x", realm: "https://example.com" };
    return new Gate({ rules, tokens: { bearer, service, own: undefined }, ...more });
  };
  const forged = "github:repo:acme/app";
  t.equal(await gateFor(forged, { workloads }).admit("Bearer x", client), "bad_token");
  for (const gate of [
    gateFor(forged),
    gateFor("gitlab:alice", { workloads }),
    gateFor("github", { workloads }),
  ])
    t.match(await gate.admit("Bearer x", client), { caller: { name: /^git/ } });
});
