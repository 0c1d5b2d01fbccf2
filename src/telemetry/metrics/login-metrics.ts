// The metric of the directory of users, from the notices about it.
import { Gauge, type Registry } from "prom-client";
import type { NoticeSink } from "../../ports/event.ts";

/** Registers it and returns its sink. Without a directory, and before the first login, there are no notices and no series. */
export function createLoginMetrics(registry: Registry): NoticeSink {
  const up = new Gauge({
    name: "entrepot_login_directory_up",
    help: "Whether a server of the directory of users (access.ldap) answered the last login that needed one: 1 or 0.",
    // A name without labels would have a sample from the start.
    labelNames: ["kind"],
    registers: [registry],
  });
  return (notice) => {
    if (notice.kind === "login_directory") up.set({ kind: "ldap" }, notice.usable ? 1 : 0);
  };
}
