// The private key that signs this mirror's own tokens.
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { Secret } from "../../ports/secret.ts";

/** What tokens are signed with by this key (RFC 7518, RFC 8037); undefined for a kind that is not taken. */
export function tokenKeyAlgorithm({
  asymmetricKeyType,
  asymmetricKeyDetails,
}: KeyObject): string | undefined {
  const { namedCurve, modulusLength = 0 } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === "ec" && namedCurve === "prime256v1") return "ES256";
  if (asymmetricKeyType === "rsa" && modulusLength >= 2048) return "RS256";
  return asymmetricKeyType === "ed25519" ? "EdDSA" : undefined;
}

/** A new private key in PEM, which no other process has. */
export function makeTokenKey(): Secret {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
}
