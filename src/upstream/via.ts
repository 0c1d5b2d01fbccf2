// The name under which this process passes requests on, so that one that comes back to it is known again.
import { randomBytes } from "node:crypto";

/** Pseudonym for Via (RFC 9110, section 7.6.3): of its own in every process, since a chain may have many mirrors. */
export const pseudonym = `entrepot-${randomBytes(4).toString("hex")}`;

/**
 * The Via of every request upstream. Members that came in are not passed on: one request upstream answers many
 * clients. A loop is still seen, for every mirror in it adds itself again.
 */
export const via = `1.1 ${pseudonym}`;
