// How this mirror proves itself to an upstream: which settings go together, and what they come to.
import type { UpstreamAuth } from "./config.ts";
import { type Entry, problemAt, type UpstreamInput } from "./entry.ts";
import type { Problem } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import type { Values } from "./schema.ts";
import { fixedSecret, type SecretSource } from "./secret.ts";
import { readSecretSettings } from "./secret-setting.ts";
import type { UpstreamKey } from "./settings.ts";
import { authorization, password } from "./upstream-types.ts";

/** Every way to log in with the settings that belong to it; only one may be used. */
const ways = [
  ["upstream.username", "upstream.password", "upstream.passwordFile"],
  ["upstream.authorization", "upstream.authorizationFile"],
  ["upstream.credentialHelper", "upstream.credentialHelperRegistry", "upstream.credentialHelperLifetime"],
] as const satisfies readonly (readonly UpstreamKey[])[];

const eitherOr = [
  ["upstream.password", "upstream.passwordFile"],
  ["upstream.authorization", "upstream.authorizationFile"],
] as const satisfies readonly (readonly UpstreamKey[])[];

/** Login settings that contradict each other, or of which one half is missing. */
export function loginProblems({ label, entries }: UpstreamInput): Problem[] {
  const problems: Problem[] = [];
  const found = (keys: readonly UpstreamKey[]): Entry[] =>
    keys.map((key) => entries.get(key)).filter((entry) => entry !== undefined);
  const [used, ...others] = ways.map(found).flatMap(([first]) => first ?? []);
  for (const other of others)
    problems.push(problemAt(other, `found both this and ${used?.label}, expected one way to log in`));
  for (const keys of eitherOr) {
    const [first, second] = found(keys);
    if (first !== undefined && second !== undefined)
      problems.push(problemAt(second, `found both this and ${first.label}, expected only one of the two`));
  }
  const [username] = found(["upstream.username"]);
  const [secret] = found(["upstream.password", "upstream.passwordFile"]);
  if (username !== undefined && secret === undefined) {
    const expected = `expected ${label}.password or ${label}.passwordFile as well`;
    problems.push(problemAt(username, `found a user name without a password, ${expected}`));
  }
  if (username === undefined && secret !== undefined)
    problems.push(
      problemAt(secret, `found a password without a user name, expected ${label}.username as well`),
    );
  const [detail] = found(["upstream.credentialHelperRegistry", "upstream.credentialHelperLifetime"]);
  if (detail !== undefined && !entries.has("upstream.credentialHelper"))
    problems.push(problemAt(detail, `found this alone, expected ${label}.credentialHelper as well`));
  return problems;
}

/** Secrets out of files; undefined where no file is set. */
export interface SecretFiles {
  readonly password: SecretSource | undefined;
  readonly authorization: SecretSource | undefined;
}

/** Reads the files of secrets there are, and every problem with them. */
export function readSecretFiles(
  { entries }: UpstreamInput,
  readFile: ReadFile,
): { readonly files: SecretFiles; readonly problems: readonly Problem[] } {
  return readSecretSettings(
    {
      password: {
        entry: entries.get("upstream.passwordFile"),
        kind: { word: "password", type: password },
      },
      authorization: {
        entry: entries.get("upstream.authorizationFile"),
        kind: { word: "Authorization header's value", type: authorization },
      },
    },
    readFile,
  );
}

/** The way to log in. `values` were checked by `loginProblems`; `registry` is what a helper is asked for unless set. */
export function upstreamAuth(
  values: Values<UpstreamKey>,
  files: SecretFiles,
  registry: string,
): UpstreamAuth {
  const { "upstream.username": username, "upstream.credentialHelper": program } = values;
  const direct = { password: values["upstream.password"], authorization: values["upstream.authorization"] };
  const header = direct.authorization === undefined ? files.authorization : fixedSecret(direct.authorization);
  if (header !== undefined) return { kind: "header", value: header };
  if (program !== undefined) {
    return {
      kind: "helper",
      program,
      registry: values["upstream.credentialHelperRegistry"] ?? registry,
      lifetime: values["upstream.credentialHelperLifetime"],
    };
  }
  const secret = direct.password === undefined ? files.password : fixedSecret(direct.password);
  if (username === undefined || secret === undefined) return { kind: "none" };
  return { kind: "basic", username, password: secret };
}
