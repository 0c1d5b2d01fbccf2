// The claims of a JSON Web Token (RFC 7519) that somebody else has signed.
import { errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from "jose";
import type { Clock } from "../../ports/clock.ts";
import type { KeySet } from "./key-set.ts";

export interface SignedClaimsOptions {
  /** As the claim `iss` has it. */
  readonly issuer: string;
  /** One of the claim `aud`. */
  readonly audience: string;
  readonly keys: KeySet;
  /** The machine's own. */
  readonly clock: Clock;
}

/** Seconds by which clocks may differ. */
export const clockSkew = 30;
/** Signatures with a private key, whose public one may be known to everybody. Never an HMAC, and never none. */
const algorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/**
 * The claims; undefined for a token that is not the issuer's, not for this audience, or not of now. Keys are those of the set
 * and no others: what a token itself says of keys (`jku`, `jwk`, `x5u`, `x5c`) is not read. Rejects with DirectoryDown while
 * nothing is known of the keys.
 */
export async function readSignedClaims(
  token: string,
  { issuer, audience, keys, clock }: SignedClaimsOptions,
): Promise<JWTPayload | undefined> {
  const options: JWTVerifyOptions = {
    algorithms,
    issuer,
    audience,
    requiredClaims: ["exp"],
    clockTolerance: clockSkew,
    currentDate: new Date(clock()),
  };
  try {
    return (await jwtVerify(token, keys.get, options)).payload;
  } catch (error) {
    if (error instanceof errors.JWKSMultipleMatchingKeys) return await signedByOne(token, error, options);
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}

/** A token that does not say which of several keys has signed it. */
async function signedByOne(
  token: string,
  keys: errors.JWKSMultipleMatchingKeys,
  options: JWTVerifyOptions,
): Promise<JWTPayload | undefined> {
  for await (const key of keys) {
    try {
      return (await jwtVerify(token, key, options)).payload;
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) throw error;
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) return undefined;
    }
  }
  return undefined;
}

/** When what the claims say ends, with what clocks differ by; in milliseconds since the epoch. */
export function endOf({ exp = 0 }: JWTPayload): number {
  return (exp + clockSkew) * 1000;
}
