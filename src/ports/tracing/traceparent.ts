// The header by which a trace goes on from one program to the next (W3C Trace Context, section 3.2).

/** Version, trace, parent, flags; later versions may have more after them (section 3.2.2). */
const grammar = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const longest = 256;

export interface Traceparent {
  /** 32 hex digits. */
  readonly traceId: string;
  /** The span that asks, 16 hex digits. */
  readonly parentId: string;
  /** Whoever asks records this trace. */
  readonly sampled: boolean;
}

/** Undefined for a header that is not there, or cannot be read. */
export function parseTraceparent(header: string | undefined): Traceparent | undefined {
  if (header === undefined || header.length > longest) return undefined;
  const [, version, traceId, parentId, flags, more] = grammar.exec(header) ?? [];
  if (traceId === undefined || parentId === undefined || flags === undefined) return undefined;
  if (version === "00" && more !== undefined) return undefined;
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** Of this program's version of the header, `00`; of the flags only `sampled` is known here. */
export function formatTraceparent({ traceId, parentId, sampled }: Traceparent): string {
  return `00-${traceId}-${parentId}-${sampled ? "01" : "00"}`;
}
