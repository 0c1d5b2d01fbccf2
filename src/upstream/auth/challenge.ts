// WWW-Authenticate: one or several challenges in one or several header fields (RFC 9110, sections 11.2 to 11.6.1).
import type { IncomingHttpHeaders } from "node:http";

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** By name in lower case; of a name that comes twice, the first. Empty for a challenge with a token68. */
  readonly parameters: ReadonlyMap<string, string>;
}

const separators = /[ \t,]*/y;
const token = /[!#$%&'*+\-.^_`|~\w]+/y;
/** `name = value` or `name = "value"`; a value without quotes may be what should have them, such as an address. */
const parameter = /([!#$%&'*+\-.^_`|~\w]+)[ \t]*=[ \t]*(?:([^",\s=][^",\s]*)|"([^"\\]*(?:\\.[^"\\]*)*)")/y;
/** Credentials-like text in place of parameters, up to the end of its challenge. */
const token68 = /[ \t]+[\w\-.~+/]+=*[ \t]*(?=,|$)/y;

/** What cannot be understood, up to the next comma. */
const unknown = /[^,]*/y;

/** The values of WWW-Authenticate among an answer's headers. */
export function challengeFields(headers: IncomingHttpHeaders): readonly string[] {
  return [headers["www-authenticate"] ?? []].flat();
}

/**
 * The challenges of all header fields, in order. What cannot be understood is passed over up to the next comma. Commas
 * between parameters may be missing, as some servers have it.
 */
export function parseChallenges(fields: readonly string[]): readonly Challenge[] {
  return fields.flatMap(parseField);
}

/** The first challenge of a scheme, given in lower case. */
export function challengeOf(challenges: readonly Challenge[], scheme: string): Challenge | undefined {
  return challenges.find((challenge) => challenge.scheme === scheme);
}

function parseField(field: string): Challenge[] {
  const found: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  /** Matches at the current place, and moves behind what matched. */
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(field);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(separators);
    if (at === field.length) return found;
    const current = found.at(-1);
    const [, name, plain, quoted] = (current && take(parameter)) ?? [];
    if (current !== undefined && name !== undefined) {
      const key = name.toLowerCase();
      const value = plain ?? (quoted as string).replace(/\\(.)/g, "$1");
      if (!current.parameters.has(key)) current.parameters.set(key, value);
      continue;
    }
    const scheme = take(token)?.[0];
    if (scheme === undefined) take(unknown);
    else {
      found.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
      take(token68);
    }
  }
}
