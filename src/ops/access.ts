// Who may ask the ops listener for more than health and metrics: whoever shows its password (Basic, RFC 7617) or its token
// (Bearer, RFC 6750). Without either only this machine may, by a listener that nobody else can reach.
import { LRUCache } from "lru-cache";
import type { Config } from "../config/config.ts";
import type { Clock } from "../ports/clock.ts";
import { isSameSecret } from "../ports/secret.ts";
import type { OpsAnswer } from "./answer.ts";

export interface OpsAccessOptions {
  /** Those of now; undefined: neither a password nor a token is set. */
  readonly rules: () => Config["opsAccess"];
  /** A steady one. */
  readonly clock: Clock;
}

/** Wrong passwords and tokens of one network within the time; more are not looked at until it is over. */
const maxWrong = 10;
const wrongTime = 60_000;
/** Networks that are remembered; of more, those longest without a wrong one are forgotten. */
const maxNetworks = 4096;

/** Characters of a name in the log. */
const longestName = 128;

const closed: OpsAnswer = {
  status: 403,
  body: [
    "This listener is reached from other machines, and has no password: only /livez, /readyz, /metrics and /hooks/ are answered.",
    "For the rest set opsAccess.passwordFile (ENTREPOT_OPS_ACCESS_PASSWORD_FILE) or opsAccess.tokenFile",
    "(ENTREPOT_OPS_ACCESS_TOKEN_FILE), or let opsListen be an address of loopback or a unix socket.",
    "",
  ].join("\n"),
};

export class OpsAccess {
  readonly #options: OpsAccessOptions;
  readonly #wrong = new LRUCache<string, { until: number; count: number }>({ max: maxNetworks });

  constructor(options: OpsAccessOptions) {
    this.#options = options;
  }

  /**
   * The answer to a request that may not be served; undefined for one that may. `network` is where it comes from, by which
   * wrong ones are counted: whoever guesses keeps out nobody but its own neighbours, and them for a minute. `isLocal`: nobody
   * but this machine reaches the listener.
   */
  async refusalOf(
    authorization: string | undefined,
    network: string,
    isLocal: boolean,
  ): Promise<OpsAnswer | undefined> {
    const rules = this.#options.rules();
    if (rules === undefined) return isLocal ? undefined : closed;
    if (authorization === undefined) return challengeOf(rules);
    const now = this.#options.clock();
    const before = this.#wrong.get(network);
    const wrong = before !== undefined && now < before.until ? before : { until: now + wrongTime, count: 0 };
    if (wrong.count >= maxWrong) return tooMany(Math.ceil((wrong.until - now) / 1000));
    // Counted before it is looked at, so that many at once are no more than many one after the other.
    wrong.count += 1;
    this.#wrong.set(network, wrong);
    if (!(await isRight(rules, authorization))) return challengeOf(rules);
    wrong.count -= 1;
    return undefined;
  }
}

/** Who somebody is that may ask, for the log: anybody can write any user name where the rules have none. */
export function nameOf(authorization: string | undefined): string {
  const [, scheme = "", shown = ""] = shownIn(authorization ?? "");
  if (scheme === "") return "local";
  if (scheme.toLowerCase() === "bearer") return "token";
  return `ops:${Buffer.from(shown, "base64").toString("utf8").split(":", 1)[0] ?? ""}`.slice(0, longestName);
}

function shownIn(authorization: string): readonly string[] {
  return /^(basic|bearer) +(\S+)$/i.exec(authorization.trim()) ?? [];
}

type Rules = NonNullable<Config["opsAccess"]>;

/** Takes the same time for every wrong one of a length. */
async function isRight({ username, password, token }: Rules, authorization: string): Promise<boolean> {
  const [, scheme = "", shown = ""] = shownIn(authorization);
  const isBasic = scheme.toLowerCase() === "basic";
  const secret = isBasic ? password : token;
  if (scheme === "" || secret === undefined) return false;
  const expected = (await secret.read()).reveal();
  if (!isBasic) return isSameSecret(shown, expected);
  const [, user = "", word = ""] =
    /^([^:]*):(.*)$/s.exec(Buffer.from(shown, "base64").toString("utf8")) ?? [];
  const isUser = isSameSecret(user, username ?? user);
  return isSameSecret(word, expected) && isUser;
}

/** A browser asks its user after a Basic challenge, so that the page needs no script to log in. */
function challengeOf({ password, token }: Rules): OpsAnswer {
  const challenges = [
    ...(password === undefined ? [] : ['Basic realm="entrepot", charset="UTF-8"']),
    ...(token === undefined ? [] : ['Bearer realm="entrepot"']),
  ];
  const asked = [
    ...(password === undefined ? [] : ["the password of opsAccess"]),
    ...(token === undefined ? [] : ["its token"]),
  ];
  return {
    status: 401,
    body: `this needs ${asked.join(" or ")}\n`,
    headers: { "www-authenticate": challenges },
  };
}

function tooMany(seconds: number): OpsAnswer {
  return {
    status: 429,
    body: "too many wrong passwords from your address\n",
    headers: { "retry-after": String(seconds) },
  };
}
