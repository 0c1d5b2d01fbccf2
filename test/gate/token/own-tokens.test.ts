import { generateKeyPairSync } from "node:crypto";
import { decodeJwt, decodeProtectedHeader, SignJWT } from "jose";
import t from "tap";
import { bearerToken } from "../../../src/gate/token/bearer-tokens.ts";
import { OwnTokens, type OwnTokensOptions } from "../../../src/gate/token/own-tokens.ts";
import { readScopes } from "../../../src/gate/token/token-access.ts";
import { makeTokenKey } from "../../../src/gate/token/token-key.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";

const start = Date.parse("2026-11-30T10:00:00Z");
const access = [{ type: "repository", name: "team/app", actions: ["pull"] }];

function make(more: Partial<OwnTokensOptions> = {}) {
  const time = { now: start };
  const tokens = new OwnTokens({
    key: fixedSecret(makeTokenKey()),
    audience: "entrepot",
    lifetime: 300_000,
    stamp: () => undefined,
    clock: () => time.now,
    steady: () => time.now,
    ...more,
  });
  return { tokens, time };
}

function pem(type: "rsa" | "ed25519" | "ec"): Secret {
  const options = { modulusLength: 2048, namedCurve: "P-256" };
  const { privateKey } =
    type === "ed25519"
      ? generateKeyPairSync("ed25519")
      : type === "rsa"
        ? generateKeyPairSync("rsa", options)
        : generateKeyPairSync("ec", options);
  return new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
}

t.test("what a token says", async (t) => {
  const { tokens } = make();
  const { token, expiresIn, user } = await tokens.issue({ name: "alice", groups: ["dev"] }, access);
  t.same({ expiresIn, user }, { expiresIn: 300, user: "alice" });
  const { jti, ...claims } = decodeJwt(token);
  const now = start / 1000;
  t.same(claims, {
    iss: "entrepot",
    aud: "entrepot",
    sub: "alice",
    iat: now,
    nbf: now,
    exp: now + 300,
    access,
    groups: ["dev"],
  });
  t.match(jti, /^[0-9a-f-]{36}$/);
  t.match(decodeProtectedHeader(token), { alg: "ES256", typ: "JWT", kid: /^[\w-]{43}$/ });
  const proved = await tokens.prove(token);
  t.same(proved?.person, { name: "alice", groups: ["dev"] });
  t.ok(proved?.access?.allows("pull", "team/app"));
  t.equal(proved?.endsAt, start + 330_000);
});

t.test("a token of nobody, and one that is for nothing in particular", async (t) => {
  const { tokens } = make();
  const nobody = await tokens.prove((await tokens.issue(undefined, [])).token);
  t.equal(nobody?.person, undefined);
  t.notOk(nobody?.access?.allows("pull", "team/app"));
  const free = await tokens.prove((await tokens.issue({ name: "alice" }, undefined)).token);
  t.equal(free?.access, undefined);
});

for (const type of ["rsa", "ec", "ed25519"] as const)
  t.test(`two nodes with one key take each other's tokens: ${type}`, async (t) => {
    const key = fixedSecret(pem(type));
    const [one, other] = [make({ key }).tokens, make({ key }).tokens];
    const { token } = await one.issue({ name: "alice" }, access);
    t.equal((await other.prove(token))?.person?.name, "alice");
    t.equal(await make({ key: fixedSecret(pem(type)) }).tokens.prove(token), undefined, "another key");
    t.equal(await make({ key, audience: "other" }).tokens.prove(token), undefined, "another mirror");
  });

t.test("a key that is replaced: what the one before has signed counts until it ends", async (t) => {
  const keys = [pem("ec"), pem("ed25519"), pem("ec")];
  let at = 0;
  const { tokens } = make({ key: { read: async () => keys[at] as Secret, problem: undefined } });
  const { token } = await tokens.issue({ name: "alice" }, access);
  at = 1;
  const [next, again] = await Promise.all([tokens.issue({ name: "alice" }, access), tokens.prove(token)]);
  t.ok(again);
  t.equal(decodeProtectedHeader(next.token).alg, "EdDSA");
  t.ok(await tokens.prove(next.token));
  at = 2;
  t.ok(await tokens.prove(next.token));
  t.equal(await tokens.prove(token), undefined, "two keys ago");
});

t.test("a key that is replaced signs nothing new: it counts as long as what it had signed", async (t) => {
  const keys = [pem("ec"), pem("ec")];
  let at = 0;
  const { tokens, time } = make({ key: { read: async () => keys[at] as Secret, problem: undefined } });
  // Somebody who knows the first key, and makes tokens that last as he likes.
  const stolen = new OwnTokens({
    key: fixedSecret(keys[0] as Secret),
    audience: "entrepot",
    lifetime: 30 * 24 * 3_600_000,
    stamp: () => undefined,
    clock: () => time.now,
    steady: () => time.now,
  });
  const { token } = await stolen.issue({ name: "admin" }, undefined);
  t.ok(await tokens.prove(token), "as long as it is the key");
  at = 1;
  time.now += 3_600_000;
  t.ok(await tokens.prove(token), "when the change is seen");
  time.now += 329_999;
  t.ok(await tokens.prove(token), "what it had signed just before has not ended");
  time.now += 1;
  t.equal(await tokens.prove(token), undefined);
  t.ok(await tokens.prove((await tokens.issue({ name: "alice" }, undefined)).token));
});

t.test("from its second to half a minute after its end, and not before", async (t) => {
  const { tokens, time } = make();
  const { token } = await tokens.issue({ name: "alice" }, access);
  for (const [seconds, counts] of [
    [-31, false],
    [-30, true],
    [329, true],
    [330, false],
  ] as const) {
    time.now = start + seconds * 1000;
    t.equal((await tokens.prove(token)) !== undefined, counts, `${seconds} s`);
  }
});

t.test("a token ends with its user, and with the user's password", async (t) => {
  const stamps = new Map([["alice", "1"]]);
  const { tokens } = make({ stamp: (name) => stamps.get(name) });
  const { token } = await tokens.issue({ name: "alice" }, access);
  t.ok(await tokens.prove(token));
  stamps.set("alice", "2");
  t.equal(await tokens.prove(token), undefined);
  stamps.delete("alice");
  t.equal(await tokens.prove(token), undefined);
  stamps.set("alice", "1");
  t.ok(await tokens.prove(token));
});

t.test("what is no token of ours proves nothing, and fails nothing", async (t) => {
  const key = makeTokenKey();
  const { tokens } = make({ key: fixedSecret(key) });
  const { token } = await tokens.issue({ name: "alice" }, access);
  const [head = "", body = "", signature = ""] = token.split(".");
  const forged = Buffer.from(JSON.stringify({ ...decodeJwt(token), sub: "root" })).toString("base64url");
  const secret = Buffer.from("x".repeat(32));
  const hmac = await new SignJWT({}).setProtectedHeader({ alg: "HS256" }).setSubject("root").sign(secret);
  for (const each of [
    "",
    "a",
    "a.b.c",
    `${head}.${forged}.${signature}`,
    `${head}.${body}.`,
    `${head}.${body}`,
    hmac,
  ])
    t.equal(await tokens.prove(each), undefined, each.slice(0, 40));
});

t.test("the largest token there is can be shown", async (t) => {
  const { tokens } = make();
  const scopes = readScopes(
    Array.from({ length: 64 }, (_, at) => `repository:${"a".repeat(100)}/${at}:pull,push`),
  );
  const groups = Array.from({ length: 1_000 }, (_, at) => `${"g".repeat(95)}${String(at).padStart(5, "0")}`);
  const { token } = await tokens.issue({ name: "a".repeat(255), groups }, scopes);
  t.equal(bearerToken(`Bearer ${token}`), token);
  t.same((await tokens.prove(token))?.person?.groups, groups.slice(0, 81));
});
