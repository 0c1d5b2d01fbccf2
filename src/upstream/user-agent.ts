// How this program names itself to upstreams.
import { createRequire } from "node:module";

// package.json stands at the same distance from src/upstream and from the emitted dist/upstream.
const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };

/** `entrepot/<version of the package>` (RFC 9110, section 10.1.5). */
export const userAgent = `entrepot/${version}`;
