// Tokens this mirror gives to callers who have logged in, and to those without a name: JSON Web Tokens (RFC 7519) that say who
// asks and what the token is limited to. What the caller may do the rules decide at every request.
import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from "node:crypto";
import { calculateJwkThumbprint, errors, jwtVerify, SignJWT } from "jose";
import type { Clock } from "../../ports/clock.ts";
import type { SecretSource } from "../../ports/secret.ts";
import type { Person } from "../directory.ts";
import type { Proved } from "./bearer-tokens.ts";
import { clockSkew, endOf } from "./signed-claims.ts";
import { type ResourceActions, TokenAccess } from "./token-access.ts";
import { tokenKeyAlgorithm } from "./token-key.ts";

/** Who makes these tokens. */
const issuer = "entrepot";

/** Most characters of the groups in a token, which goes into a header. */
const longestGroups = 8192;

export interface OwnTokensOptions {
  /**
   * The private key in PEM (tokenKeyAlgorithm). It may change: what the one before has signed counts until it ends, and nothing
   * of it counts once all that it can have signed before has ended: it may have been replaced because somebody else knows it.
   */
  readonly key: SecretSource;
  /** For whom they are; the `service` of challenges. */
  readonly audience: string;
  /** Milliseconds a token lasts. */
  readonly lifetime: number;
  /** See Directory. */
  readonly stamp: (name: string) => string | undefined;
  /** The machine's own, by which tokens say when they end, and a steady one. */
  readonly clock: Clock;
  readonly steady: Clock;
}

export interface IssuedToken {
  readonly token: string;
  /** Seconds. */
  readonly expiresIn: number;
  /** Whose it is; undefined: nobody's. */
  readonly user: string | undefined;
}

interface SigningKey {
  readonly pem: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly algorithm: string;
  readonly id: string;
}

export class OwnTokens {
  readonly audience: string;
  readonly #options: OwnTokensOptions;
  /** The one that signs, and the one before. */
  #keys: readonly SigningKey[] = [];
  /** Until when the one before counts, by the steady clock. */
  #beforeUntil = 0;

  constructor(options: OwnTokensOptions) {
    this.#options = options;
    this.audience = options.audience;
  }

  /** For the person, or nobody. `access`: what the client asked for; undefined: for nothing, and no limit is set. */
  async issue(
    person: Person | undefined,
    access: readonly ResourceActions[] | undefined,
  ): Promise<IssuedToken> {
    const { clock, steady, lifetime, stamp } = this.#options;
    const [key] = await this.#current();
    const { name = "", groups = [], until = Number.POSITIVE_INFINITY } = person ?? {};
    const now = Math.floor(clock() / 1000);
    const seconds = Math.max(1, Math.floor(Math.min(lifetime, until - steady()) / 1000));
    const claims = {
      ...(access === undefined ? {} : { access }),
      ...(groups.length === 0 ? {} : { groups: fitting(groups) }),
      stamp: stamp(name),
    };
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: key.algorithm, kid: key.id, typ: "JWT" })
      .setIssuer(issuer)
      .setSubject(name)
      .setAudience(this.audience)
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + seconds)
      .setJti(randomUUID())
      .sign(key.privateKey);
    return { token, expiresIn: seconds, user: person?.name };
  }

  /** Undefined for what is no token of this mirror, has ended, or is of somebody who is gone or has another password now. */
  async prove(token: string): Promise<Proved | undefined> {
    const { clock, stamp } = this.#options;
    const keys = await this.#current();
    try {
      const { payload } = await jwtVerify(token, ({ kid }) => keyNamed(keys, kid), {
        algorithms: [...new Set(keys.map(({ algorithm }) => algorithm))],
        issuer,
        audience: this.audience,
        requiredClaims: ["sub", "exp", "nbf"],
        clockTolerance: clockSkew,
        currentDate: new Date(clock()),
      });
      const { sub = "", access, groups, stamp: stamped } = payload;
      if (stamp(sub) !== stamped) return undefined;
      return {
        person: sub === "" ? undefined : { name: sub, groups: textsIn(groups) },
        access: access === undefined ? undefined : new TokenAccess(access),
        endsAt: endOf(payload),
      };
    } catch (error) {
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  }

  async #current(): Promise<readonly [SigningKey, ...SigningKey[]]> {
    const { key, steady, lifetime } = this.#options;
    const pem = (await key.read()).reveal();
    const [current] = this.#keys;
    if (current?.pem !== pem) {
      const made = await signingKey(pem);
      // Of those that wait here at the same time the first is enough.
      if (this.#keys[0]?.pem !== pem) {
        this.#keys = [made, ...this.#keys.slice(0, 1)];
        this.#beforeUntil = steady() + lifetime + clockSkew * 1000;
      }
    }
    if (this.#keys.length > 1 && steady() >= this.#beforeUntil) this.#keys = this.#keys.slice(0, 1);
    return this.#keys as [SigningKey, ...SigningKey[]];
  }
}

function keyNamed(keys: readonly SigningKey[], id: string | undefined): KeyObject {
  const key = keys.find((each) => each.id === id);
  if (key === undefined) throw new errors.JWKSNoMatchingKey();
  return key.publicKey;
}

/** The first of them that a token can hold: whoever is in more has no right by the others. */
function fitting(groups: readonly string[]): readonly string[] {
  let length = 0;
  return groups.filter((group) => {
    length += group.length;
    return length <= longestGroups;
  });
}

function textsIn(list: unknown): readonly string[] {
  return Array.isArray(list) ? list.filter((each) => typeof each === "string") : [];
}

/** With the same name wherever the key is (RFC 7638). */
async function signingKey(pem: string): Promise<SigningKey> {
  const privateKey = createPrivateKey(pem);
  const publicKey = createPublicKey(privateKey);
  const algorithm = tokenKeyAlgorithm(privateKey);
  if (algorithm === undefined) throw new TypeError("the key of tokens was checked to be of a known kind");
  return { pem, privateKey, publicKey, algorithm, id: await calculateJwkThumbprint(publicKey) };
}
