// Bounded label values. Whatever a client or an upstream sends, a label holds one value of a closed list, so the
// number of series has a ceiling known before the program starts.
import { results, type Source } from "../../ports/event.ts";

/** Request methods as a label; everything else is OTHER. */
export const methodLabels = [
  "GET",
  "HEAD",
  "PUT",
  "POST",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "CONNECT",
  "TRACE",
  "OTHER",
] as const;

/** Where response bytes came from; the metrics of upstreams and siblings have which one it was. */
export const sourceLabels = ["memory", "disk", "s3", "sibling", "upstream", "none"] as const;

/** The stores blobs are kept in. */
export const storeLabels = ["disk", "s3"] as const;
export type StoreLabel = (typeof storeLabels)[number];

/** Statuses that registries, proxies and this program send; any other counts under its class. */
const namedStatuses = [
  200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
  412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 507,
  508, 511,
];
const codes = new Map(namedStatuses.map((status) => [status, String(status)]));

/**
 * A status as a label: the number itself when it is a usual one, `1xx` to `5xx` for the rest of its class,
 * `none` for 0 (no answer was sent), `other` for what is no HTTP status.
 */
export function codeLabel(status: number): string {
  const named = codes.get(status);
  if (named !== undefined) return named;
  if (status === 0) return "none";
  return status >= 100 && status < 600 ? `${Math.floor(status / 100)}xx` : "other";
}

/** Drops the name from `upstream:<name>` and `sibling:<name>`. */
export function sourceLabel(source: Source): (typeof sourceLabels)[number] {
  if (source === "memory" || source === "disk" || source === "s3") return source;
  if (source.startsWith("sibling:")) return "sibling";
  return source.startsWith("upstream:") ? "upstream" : "none";
}

/** A function that lets the known values through and turns every other one into `fallback`. */
export function closedList<T extends string>(known: readonly T[], fallback: T): (value: string) => T {
  const values: ReadonlySet<string> = new Set(known);
  return (value) => (values.has(value) ? (value as T) : fallback);
}

/** Kinds of read; every other route counts as `other`. */
export const readTypes = ["blob", "manifest_tag", "manifest_digest", "tags", "referrers", "other"] as const;

export const readType = closedList(readTypes, "other");
export const resultLabel = closedList(results, "error");
export const methodLabel = closedList(methodLabels, "OTHER");

/** What a counter may be raised by: the libraries throw on NaN and on negative numbers, and a sink must not. */
export function amount(value: number): number {
  return value > 0 && Number.isFinite(value) ? value : 0;
}
