// Server-Timing (W3C): what browsers and curl can be shown of where the time went.
import { asksUpstream, type Result } from "../ports/event.ts";

/**
 * How the answer came about and, where upstream was asked for it, the milliseconds until its headers could be sent.
 */
export function serverTiming(result: Result, milliseconds: number): string {
  const cache = `cache;desc=${result}`;
  return asksUpstream(result) ? `${cache}, upstream;dur=${milliseconds.toFixed(1)}` : cache;
}
