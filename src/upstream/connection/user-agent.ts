// How this program names itself to upstreams.
import { version } from "../../version.ts";

/** `entrepot/<version of the package>` (RFC 9110, section 10.1.5). */
export const userAgent = `entrepot/${version}`;
