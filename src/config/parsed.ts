// What a value parser of this directory gives back.

/** The value, or what was expected instead; `expected` completes "found X, expected ...". */
export type Parsed<T> = { readonly value: T } | { readonly expected: string };
