// What a token server answers (distribution-spec tooling, "Token Authentication Specification" and "Oauth2 Token
// Authentication" of CNCF Distribution).

/** An access token. Nothing prints it by accident. */
export class AccessToken {
  /** Milliseconds of our clock: when it came, and until when it is used. */
  readonly receivedAt: number;
  readonly usableUntil: number;
  readonly #text: string;

  constructor(text: string, receivedAt: number, usableUntil: number) {
    this.#text = text;
    this.receivedAt = receivedAt;
    this.usableUntil = usableUntil;
  }

  /** The Authorization value (RFC 6750, section 2.1). */
  get bearer(): string {
    return `Bearer ${this.#text}`;
  }
}

/** Seconds a token lives at least, and when the answer does not say. */
const shortestLife = 60;
/** A token is not used in the last part of its life: the smaller of a tenth and these milliseconds. */
const margin = 30_000;
/** What a header can carry without quoting. */
const usableToken = /^[\x21-\x7e]{1,32768}$/;

/**
 * The token in a token server's answer: `token` or `access_token`, good for `expires_in` seconds from `issued_at`.
 * `date` is the answer's Date header: how old a token was when it came is a difference between two times of the
 * server's own clock, so that a wrong clock, there or here, makes no token look expired. Undefined for an answer
 * without a usable token.
 */
export function readTokenAnswer(
  body: Buffer,
  date: string | undefined,
  now: number,
): AccessToken | undefined {
  const answer = parseObject(body);
  const text = [answer?.token, answer?.access_token].find((each) => typeof each === "string" && each !== "");
  if (answer === undefined || typeof text !== "string" || !usableToken.test(text)) return undefined;
  const life = Math.max(shortestLife, secondsOf(answer.expires_in)) * 1000;
  const age = Date.parse(date ?? "") - dateOf(answer.issued_at);
  const left = age > 0 && age < life ? life - age : life;
  return new AccessToken(text, now, now + left - Math.min(margin, left / 10));
}

function parseObject(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** 0 for what is no number of seconds. */
function secondsOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** Milliseconds of an RFC 3339 time; NaN for anything else. */
function dateOf(value: unknown): number {
  return typeof value === "string" && /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d/.test(value)
    ? Date.parse(value)
    : NaN;
}
