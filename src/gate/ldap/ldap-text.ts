// Texts of LDAP: names of entries (RFC 4514) and filters (RFC 4515), into which what a client has sent is put as a value and
// can be nothing else.

/** The text as the value of an attribute in the name of an entry (RFC 4514, section 2.4). */
export function dnValue(text: string): string {
  return text
    .replace(/["+,;<>=\\]/g, "\\$&")
    .replace(/\p{Cc}/gu, (control) => hexOf(control))
    .replace(/(?<=.) $/s, "\\ ")
    .replace(/^[ #]/, "\\$&");
}

/** The text as a value in a filter (RFC 4515, section 3). */
export function filterValue(text: string): string {
  // What is not ASCII stands for itself.
  return text.replace(/[*()\\]|\p{Cc}/gu, (special) => (special > "\x7f" ? special : hexOf(special)));
}

function hexOf(text: string): string {
  return [...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
}

/** The template with each `{name}` replaced by its value, which has to be escaped already. */
export function filled(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (written, name: string) => values[name] ?? written);
}

/**
 * What stands in the name of an entry where the template has the `word`; undefined when it is not made after the template, or the
 * word is not in the first attribute of a part.
 */
export function valueIn(dn: string, template: string, word: string): string | undefined {
  const [parts, wanted] = [parseName(dn), parseName(template)];
  const at = wanted?.findIndex(({ value }) => value.includes(word)) ?? -1;
  const [part, pattern] = [parts?.[at], wanted?.[at]];
  if (part === undefined || pattern === undefined || parts?.length !== wanted?.length) return undefined;
  const [before = "", after = ""] = pattern.value.split(word);
  const end = part.value.length - after.length;
  const isSame = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
  const fits = isSame(part.value.slice(0, before.length), before) && isSame(part.value.slice(end), after);
  if (part.attribute !== pattern.attribute || !fits || end <= before.length) return undefined;
  return part.value.slice(before.length, end);
}

/** One part of the name of an entry, of several attributes the first. */
interface RelativeName {
  readonly attribute: string;
  readonly value: string;
}

/** The parts of an entry's name (RFC 4514, section 3), the entry's own first; undefined for what is none. */
function parseName(dn: string): readonly RelativeName[] | undefined {
  const parts: RelativeName[] = [];
  for (const written of splitAt(dn, ",")) {
    const [first = ""] = splitAt(written, "+");
    const [, attribute, value] = /^ *([a-z][a-z0-9-]*|\d+(?:\.\d+)*) *=(.*)$/is.exec(first) ?? [];
    if (attribute === undefined || value === undefined || value.startsWith("#")) return undefined;
    parts.push({ attribute: attribute.toLowerCase(), value: unescaped(value) });
  }
  return parts;
}

/** The parts between separators that are not escaped. */
function splitAt(text: string, separator: string): string[] {
  const parts = [""];
  for (const [each] of text.matchAll(/\\.|[^\\]/gsu))
    if (each === separator) parts.push("");
    else parts.push(parts.pop() + each);
  return parts;
}

function unescaped(value: string): string {
  // Spaces around it are no part of it, unless they are escaped.
  const trimmed = value.replace(/^ +/, "").replace(/(?<!\\) +$/, "");
  return trimmed.replace(/(?:\\[0-9a-f]{2})+|\\(.)/gisu, (written, character?: string) =>
    character === undefined ? Buffer.from(written.replaceAll("\\", ""), "hex").toString() : character,
  );
}

/**
 * What the entry `dn` is called in its own part of its name, `builders` of `cn=builders,ou=groups,dc=example`, when it stands
 * below `base`; undefined for every other one. The same name elsewhere may have been made by anybody.
 */
export function nameBelow(dn: string, base: string): string | undefined {
  const [parts, above] = [parseName(dn), parseName(base)];
  if (parts === undefined || above === undefined || parts.length <= above.length) return undefined;
  const isBelow = above.every((part, at) => {
    const same = parts[parts.length - above.length + at];
    return same?.attribute === part.attribute && same.value.toLowerCase() === part.value.toLowerCase();
  });
  return isBelow ? parts[0]?.value : undefined;
}
