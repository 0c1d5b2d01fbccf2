import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import t from "tap";
import { makeTokenKey, tokenKeyAlgorithm } from "../../../src/gate/token/token-key.ts";

t.test("what tokens can be signed with", async (t) => {
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("ed25519").privateKey), "EdDSA");
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey), "ES256");
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey), undefined);
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey), undefined);
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey), "RS256");
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey), undefined);
  t.equal(tokenKeyAlgorithm(generateKeyPairSync("x25519").privateKey), undefined);
});

t.test("a key that is made is another every time", async (t) => {
  const [one, other] = [makeTokenKey().reveal(), makeTokenKey().reveal()];
  t.not(one, other);
  t.equal(tokenKeyAlgorithm(createPrivateKey(one)), "ES256");
});
