// The version of the package, as it stands in package.json.
import { createRequire } from "node:module";

// package.json stands one level above both src and the emitted dist.
export const { version } = createRequire(import.meta.url)("../package.json") as { readonly version: string };

/** How this program names itself to upstreams and to receivers of notifications (RFC 9110, section 10.1.5). */
export const userAgent = `entrepot/${version}`;
