// Who asks.

export interface Caller {
  /** As the directory has it; undefined: nobody has proved to be anybody. */
  readonly name: string | undefined;
  readonly groups: readonly string[];
  /** That of the client (http/client-address.ts). */
  readonly address: string;
}

/** A client of this address that has proved to be nobody in particular. */
export function nobody(address: string): Caller {
  return { name: undefined, groups: noGroups, address };
}

export const noGroups: readonly string[] = [];

/** Whether the caller is one of the users, or in one of the groups; without a name neither. */
export function isOneOf(
  { name, groups }: Caller,
  of: { readonly users: ReadonlySet<string>; readonly groups: ReadonlySet<string> },
): boolean {
  return name !== undefined && (of.users.has(name) || groups.some((group) => of.groups.has(group)));
}

/** Longest name, in bytes: what an event and a log line take. */
export const longestName = 255;

/** Whether the text can be the name of a caller, wherever it comes from: not empty, and without control characters. */
export function isCallerName(text: string): boolean {
  return text !== "" && Buffer.byteLength(text) <= longestName && !/\p{Cc}/u.test(text);
}
