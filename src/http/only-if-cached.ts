// Requests for nothing but what is held here, as mirrors of other datacenters send them (RFC 9111, section 5.2.1.7). The
// directive counts for what is asked for by digest; everything else is answered as without it.
import type { Exchange } from "./exchange.ts";

const directive = /(?:^|,)[ \t]*only-if-cached[ \t]*(?:,|$)/i;

export function wantsOnlyCached(exchange: Pick<Exchange, "header">): boolean {
  const header = exchange.header("cache-control");
  return header !== undefined && directive.test(header);
}
