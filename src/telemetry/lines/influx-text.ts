// The characters of InfluxDB's line protocol that mean something, and how they are written when they do not
// (docs.influxdata.com, "Line protocol reference", InfluxDB 1.x).

/** Longest string field, in UTF-16 units; InfluxDB takes 64 KB. */
const longest = 1024;
/** Longest tag value: every one of them is kept in memory by InfluxDB. */
const longestTag = 256;

/** C0, DEL, C1 and the Unicode line ends: a line has none, and no terminal or reader should get them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same, and what is escaped in a string
const specialInString = /["\\\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const plainTag = /^[A-Za-z0-9._:/-]{1,256}$/;

/**
 * A tag's value; undefined for one that would be empty, which the protocol does not allow: the tag is left out then.
 * A backslash becomes `_`: before a comma, or at the end, it would be read as an escape.
 */
export function tagValue(text: string): string | undefined {
  if (plainTag.test(text)) return text;
  const clean = text.slice(0, longestTag).toWellFormed().replace(control, " ").replaceAll("\\", "_");
  return clean === "" ? undefined : clean.replaceAll(/[,= ]/g, "\\$&");
}

/** A string field's value with its quotes; line ends and control characters become blanks. */
export function stringField(text: string): string {
  const cut = text.length > longest ? text.slice(0, longest) : text;
  if (!specialInString.test(cut) && cut.isWellFormed()) return `"${cut}"`;
  return `"${cut.toWellFormed().replace(control, " ").replaceAll(/["\\]/g, "\\$&")}"`;
}
