// Broken YAML in our own words. The library's messages may quote the text at fault, which may be a password.
import type { YAMLError } from "yaml";

const sentences: Partial<Record<YAMLError["code"], string>> = {
  BAD_ALIAS: "a name after * that no & has given before; put a value that begins with * in quotes",
  BAD_DQ_ESCAPE: "an unknown \\ escape in double quotes; use single quotes to take a backslash as it is",
  BAD_INDENT: "the indentation is wrong, or a bracket is not closed",
  BAD_SCALAR_START: "a value cannot begin with this character; put the value in quotes",
  BLOCK_AS_IMPLICIT_KEY:
    "a second colon on the line; put a value that contains a colon and a space in quotes",
  DUPLICATE_KEY: "the same key stands here twice",
  MISSING_CHAR: "a quote, a bracket, or the colon after a key is missing",
  MULTIPLE_DOCS: "a second document begins here; one file holds one configuration",
  TAB_AS_INDENT: "indent with spaces, not with tabs",
  TAG_RESOLVE_FAILED: "an unknown tag; put a value that begins with ! in quotes",
  UNEXPECTED_TOKEN: "unexpected text; put a value with special characters in quotes",
};

/** One line about a syntax error or warning; never any text of the file. */
export function describeSyntaxError(error: YAMLError): string {
  return `not valid YAML: ${sentences[error.code] ?? "the text cannot be understood here"}`;
}
