// Forged and stolen tokens (the class of CVE-2015-9235, CVE-2022-21449 and Harbor's and Distribution's own: alg none, an HMAC
// with the public key, keys that the token brings itself, tokens for somebody or something else).
import { createHmac, createPublicKey } from "node:crypto";
import { decodeJwt, exportSPKI, generateKeyPair, importJWK, SignJWT } from "jose";
import t, { type Test } from "tap";
import type { AccessConfig } from "../../src/config/config.ts";
import { makeTokenKey } from "../../src/gate/token/token-key.ts";
import { fixedSecret } from "../../src/ports/secret.ts";
import { bearer, login, namedAccess, ownTokens, rule } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { type JwtIssuer, startJwtIssuer } from "../fixtures/jwt-issuer.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "forged" });
const path = "/v2/team/app/manifests/1";
const pull = [{ type: "repository", name: "team/app", actions: ["pull"] }];

async function mirrorWith(t: Test, access: AccessConfig): Promise<Mirror> {
  const upstream = await startUpstream(t);
  for (const repository of ["team/app", "team/appb", "other/app"]) upstream.addImage(repository, "1", image);
  return await startMirror(t, upstream, { cache: { dir: t.testdir() }, access });
}

async function foreign(t: Test, rules: AccessConfig["rules"] = []) {
  const issuer = await startJwtIssuer(t);
  const keys = { kind: "url", url: issuer.keysUrl } as const;
  const realm = "https://tokens.example.com/token";
  const mirror = await mirrorWith(t, {
    htpasswd: undefined,
    rules,
    issuer: { issuer: issuer.url, audience: "mirror", realm, keys },
  });
  const status = async (token: string, at = path, method = "GET") =>
    (await mirror.ask(method, at, bearer(token))).status;
  return { issuer, mirror, status };
}

function unsigned(header: object, claims: object, signature = ""): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  return `${encode(header)}.${encode(claims)}.${signature}`;
}

/** The same token with an HMAC, whose key is the public one in this form. */
function hmacBy(key: string | Buffer, header: object, claims: object, hash: string): string {
  const token = unsigned(header, claims).slice(0, -1);
  return `${token}.${createHmac(hash, key).update(token).digest("base64url")}`;
}

async function publicForms(issuer: JwtIssuer): Promise<(string | Buffer)[]> {
  const [jwk = {}] = (await issuer.set()).keys;
  const pem = await exportSPKI(
    (await importJWK({ ...jwk, alg: "ES256" })) as Parameters<typeof exportSPKI>[0],
  );
  return [
    pem,
    pem.trim(),
    createPublicKey(pem).export({ type: "spki", format: "der" }),
    JSON.stringify(jwk),
    "",
  ];
}

t.test("a token that nobody has signed, or everybody could", async (t) => {
  const { issuer, status } = await foreign(t);
  const good = await issuer.sign({ access: pull });
  t.equal(await status(good), 200);
  const claims = decodeJwt(good);
  for (const alg of ["none", "None", "NONE", "nOnE", ""])
    for (const signature of ["", "AAAA", good.split(".")[2] ?? ""])
      t.equal(
        await status(unsigned({ alg, kid: "1", typ: "JWT" }, claims, signature)),
        401,
        `${alg} ${signature}`,
      );
  for (const key of await publicForms(issuer))
    for (const [alg, hash] of [
      ["HS256", "sha256"],
      ["HS384", "sha384"],
      ["HS512", "sha512"],
    ] as const)
      t.equal(await status(hmacBy(key, { alg, kid: "1" }, claims, hash)), 401, alg);
  const zero = Buffer.alloc(64).toString("base64url");
  t.equal(await status(unsigned({ alg: "ES256", kid: "1" }, claims, zero)), 401, "psychic signatures");
});

t.test("a token that brings its own key", async (t) => {
  const { issuer, status } = await foreign(t);
  const mine = await generateKeyPair("ES256", { extractable: true });
  const thief = await startJwtIssuer(t);
  const claims = {
    iss: issuer.url,
    aud: "mirror",
    sub: "root",
    exp: Math.floor(Date.now() / 1000) + 60,
    access: pull,
  };
  const jwk = (await thief.set()).keys[0];
  const headers: Record<string, unknown>[] = [
    { kid: "1" },
    { jwk },
    { jku: thief.keysUrl.href },
    { jku: thief.keysUrl.href, kid: "1" },
    { x5u: thief.keysUrl.href },
    { x5c: ["MIIB"] },
    { kid: thief.keysUrl.href },
    { kid: "../../../../etc/passwd" },
    { kid: "/dev/null" },
    { kid: "1' OR '1'='1" },
    { kid: "__proto__" },
    { kid: "constructor" },
    { kid: "x".repeat(8_000) },
    { crit: ["exp"], kid: "1" },
    { b64: false, crit: ["b64"], kid: "1" },
  ];
  for (const header of headers) {
    const says = JSON.stringify(header).slice(0, 80);
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: "ES256", ...header })
      .sign(mine.privateKey)
      .catch(() => unsigned({ alg: "ES256", ...header }, claims, "AAAA"));
    t.equal(await status(token), 401, says);
  }
  t.same(thief.asked, [], "nobody is asked that a token names");
  t.ok(issuer.asked.length <= 2, "nor the issuer for every name of a key");
});

t.test("a token of another time, for somebody else, of somebody else", async (t) => {
  const { issuer, status } = await foreign(t);
  const now = Math.floor(Date.now() / 1000);
  const cases: Record<string, unknown>[] = [
    { exp: now - 31 },
    { exp: undefined },
    { exp: "tomorrow" },
    { nbf: now + 90 },
    { aud: "another" },
    { aud: [] },
    { aud: undefined },
    { aud: "mirror " },
    { iss: "https://evil.example.com" },
    { iss: `${issuer.url}/` },
    { iss: undefined },
    { sub: "a\nb" },
    { sub: 7 },
  ];
  for (const each of cases)
    t.equal(await status(await issuer.sign({ access: pull, ...each })), 401, JSON.stringify(each));
  t.equal(await status(await issuer.sign({ access: pull, aud: ["x", "mirror"] })), 200);
  t.equal(await status(await issuer.sign({ access: pull, exp: now - 5 })), 200, "clocks differ");
});

t.test("what a token allows, and nothing near it", async (t) => {
  const { issuer, mirror, status } = await foreign(t);
  const token = await issuer.sign({ access: pull });
  t.equal(await status(token), 200);
  t.equal(await status(token, "/v2/team/appb/manifests/1"), 401);
  t.equal(await status(token, "/v2/other/app/manifests/1"), 401);
  t.equal(await status(token, path, "PUT"), 401);
  t.equal(await status(token, path, "DELETE"), 401);
  t.equal(await status(token, "/v2/_catalog"), 401);
  t.equal(await status(await issuer.sign({}), path), 401, "no access at all");
  t.equal(await status(await issuer.sign({}), "/v2/"), 200);
  const odd = await issuer.sign({
    access: [{ type: "repository", name: "team/*", actions: ["*"] }] as unknown,
  });
  t.equal(await status(odd), 401, "names are no patterns");
  t.equal((await mirror.get(path, login("alice", token))).status, 401, "it is no password");
  const { headers } = await mirror.get(path, bearer(await issuer.sign({})));
  t.equal(
    headers["www-authenticate"],
    'Bearer realm="https://tokens.example.com/token",service="mirror",scope="repository:team/app:pull",error="insufficient_scope"',
  );
  t.equal((await mirror.get("/v2/token")).status, 401, "it gives none itself");
});

t.test("rules narrow what another's tokens allow, and a name's beginning is no right", async (t) => {
  const { issuer, status } = await foreign(t, [rule({ users: ["robot$ab"], repositories: ["team/app"] })]);
  const as = (sub: string) => issuer.sign({ sub, access: pull });
  t.equal(await status(await as("robot$ab")), 200);
  for (const name of ["robot$a", "robot$abc", "robot$", "", "ROBOT$AB"])
    t.equal(await status(await as(name)), name === "" ? 401 : 403, name);
});

t.test("the issuer away: whom it has signed for before is let in, who comes after as well", async (t) => {
  const { issuer, status } = await foreign(t);
  t.equal(await status(await issuer.sign({ access: pull })), 200);
  issuer.isDown = true;
  t.equal(await status(await issuer.sign({ access: pull, jti: "another" })), 200);
  const asked = issuer.asked.length;
  await issuer.add("2");
  for (let at = 0; at < 20; at++)
    t.equal(await status(await issuer.sign({ access: pull, jti: `${at}` }, "2")), 401);
  t.ok(issuer.asked.length <= asked + 1, "not asked for each of them");
});

t.test("own tokens: a forged name, more than was asked for, another mirror's", async (t) => {
  const key = fixedSecret(makeTokenKey());
  const access: AccessConfig = {
    ...namedAccess({ robot$a: "1", robot$ab: "2" }, [
      rule({ users: ["robot$ab"], repositories: ["team/**"] }),
      rule({ users: ["robot$a"], repositories: ["other/**"] }),
    ]),
    tokens: { ...ownTokens, key },
  };
  const mirror = await mirrorWith(t, access);
  const tokenOf = async (name: string, password: string, query = "") =>
    JSON.parse((await mirror.get(`/v2/token${query}`, login(name, password))).body.toString())
      .token as string;
  const status = async (token: string, at = path) => (await mirror.get(at, bearer(token))).status;
  const a = await tokenOf("robot$a", "1");
  t.equal(await status(a), 403, "robot$a has no right of robot$ab");
  t.equal(await status(await tokenOf("robot$ab", "2")), 200);
  const narrow = await tokenOf("robot$ab", "2", "?scope=repository:team/appb:pull");
  t.equal(await status(narrow), 401);
  const [head = "", body = "", signature = ""] = narrow.split(".");
  const claims = decodeJwt(narrow);
  for (const forged of [
    { ...claims, access: pull },
    { ...claims, access: undefined },
    { ...decodeJwt(a), sub: "robot$ab" },
  ]) {
    const other = Buffer.from(JSON.stringify(forged)).toString("base64url");
    t.equal(await status(`${head}.${other}.${signature}`), 401);
  }
  t.equal(await status(`${head}.${body}.`), 401);
  const elsewhere = await mirrorWith(t, { ...access, tokens: { ...ownTokens, key, audience: "elsewhere" } });
  const { token } = JSON.parse((await elsewhere.get("/v2/token", login("robot$ab", "2"))).body.toString());
  t.equal(await status(token), 401, "for another mirror");
  const stranger = await mirrorWith(t, { ...access, tokens: ownTokens });
  t.equal((await stranger.get(path, bearer(await tokenOf("robot$ab", "2")))).status, 401, "of another key");
});

t.test("headers that are huge, or no token at all, are refused and harm nobody", async (t) => {
  const { mirror, status, issuer } = await foreign(t);
  for (const token of ["a".repeat(16_000), "a".repeat(40_000), "....", "a.b.c.d.e", "e30.e30.e30", "=", "é"])
    t.equal(
      (await mirror.get(path, { authorization: `Bearer ${encodeURI(token)}` })).status,
      401,
      token.slice(0, 20),
    );
  const many = Array.from({ length: 200 }, (_, at) => ({
    type: "repository",
    name: `a/${at}`,
    actions: ["pull"],
  }));
  t.equal(await status(await issuer.sign({ access: [...many, ...pull] })), 200);
});
