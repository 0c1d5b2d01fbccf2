// Rules between settings. They look at what was set, not at parsed values, so that they are reported together with
// the problems of single values.
import { addressesCollide, parseAddress } from "./address.ts";
import type { Entries } from "./entry.ts";
import type { Problem } from "./problem.ts";
import { settings } from "./settings.ts";

/** Everything set that contradicts something else that is set. */
export function findContradictions(entries: Entries): Problem[] {
  return [...credentialProblems(entries), ...listenProblems(entries)];
}

function credentialProblems(entries: Entries): Problem[] {
  const problems: Problem[] = [];
  const username = entries.get("upstream.username");
  const password = entries.get("upstream.password");
  const file = entries.get("upstream.passwordFile");
  if (password !== undefined && file !== undefined) {
    problems.push({
      key: file.label,
      position: file.locate?.(file.label),
      message: `found both this and ${password.label}, expected only one of the two`,
    });
  }
  const secret = password ?? file;
  if (username !== undefined && secret === undefined) {
    problems.push({
      key: username.label,
      position: username.locate?.(username.label),
      message:
        "found a user name without a password, expected upstream.password or upstream.passwordFile as well",
    });
  }
  if (username === undefined && secret !== undefined) {
    problems.push({
      key: secret.label,
      position: secret.locate?.(secret.label),
      message: "found a password without a user name, expected upstream.username as well",
    });
  }
  return problems;
}

function listenProblems(entries: Entries): Problem[] {
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
