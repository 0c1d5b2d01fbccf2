// Tokens of another token server, of the distribution protocol ("Token Authentication Implementation"): whom they are for and
// what they allow is its word.
import { isCallerName } from "../caller.ts";
import type { Proved } from "./bearer-tokens.ts";
import { endOf, readSignedClaims, type SignedClaimsOptions } from "./signed-claims.ts";
import { TokenAccess } from "./token-access.ts";

/** What the token proves; undefined: nothing. Rejects as readSignedClaims does. */
export async function proveForeign(token: string, options: SignedClaimsOptions): Promise<Proved | undefined> {
  const claims = await readSignedClaims(token, options);
  if (claims === undefined) return undefined;
  const { sub = "", access } = claims;
  if (typeof sub !== "string" || (sub !== "" && !isCallerName(sub))) return undefined;
  return {
    person: sub === "" ? undefined : { name: sub },
    access: new TokenAccess(access),
    endsAt: endOf(claims),
  };
}
