// Rules between settings. They look at what was set, not at parsed values, so that they are reported together with
// the problems of single values. Those within one upstream are in upstream-auth.ts and upstream-tls.ts, those between
// upstreams in upstream-list.ts.
import { addressesCollide, parseAddress } from "./address.ts";
import { type Entries, problemAt } from "./entry.ts";
import type { Problem } from "./problem.ts";
import { isUpstreamKey, settings } from "./settings.ts";

/** Both ways to name upstreams at once; `entries` has what is set below `upstream`, in the file or the environment. */
export function bothFormsProblems(entries: Entries): Problem[] {
  const [inFile] = [...entries].filter(([key, { locate }]) => isUpstreamKey(key) && locate !== undefined);
  const inEnvironment = [...entries].filter(
    ([key, { locate }]) => isUpstreamKey(key) && locate === undefined,
  );
  return [...(inFile === undefined ? [] : [inFile]), ...inEnvironment].map(([, entry]) =>
    problemAt(
      entry,
      "found both this and upstreams, expected only one of the two: move it into the list, or make the list one upstream",
    ),
  );
}

/** The two listeners cannot have one address. */
export function listenProblems(entries: Entries): Problem[] {
  const listen = entries.get("listen");
  const ops = entries.get("opsListen");
  const a = parseAddress(String(listen?.input ?? settings.listen.default));
  const b = parseAddress(String(ops?.input ?? settings.opsListen.default));
  if (!("value" in a && "value" in b) || !addressesCollide(a.value, b.value)) return [];
  const changed = ops ?? listen;
  const label = changed?.label ?? "opsListen";
  return [
    {
      key: label,
      position: changed?.locate?.(label),
      message: `found port ${a.value.port} for both listen and opsListen, expected two ports`,
    },
  ];
}
