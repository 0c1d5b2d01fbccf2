// What is wrong with a layout, or keeps one from being made.

export const layoutErrorCodes = [
  /** It is no OCI image layout, or one of a version that is not known. */
  "not_a_layout",
  /** It has what no layout needs and a reader may be harmed by: links, paths that lead out of it. */
  "hostile",
  /** It has more, or larger, than is read. */
  "too_large",
  /** Bytes do not have the digest they stand under. */
  "wrong_bytes",
  /** An image names what is not in it. */
  "incomplete",
  /** An image does not say where it belongs. */
  "unnamed",
  /** The registry does not have something, or does not give it. */
  "not_given",
  /** A directory that holds something else. */
  "occupied",
] as const;
export type LayoutErrorCode = (typeof layoutErrorCodes)[number];

/** The message says what was wrong and, where something can be done, what. */
export class LayoutError extends Error {
  readonly code: LayoutErrorCode;

  constructor(code: LayoutErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "LayoutError";
    this.code = code;
  }
}
