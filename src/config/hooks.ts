// Notifications and webhooks, from what was set to what the rest of the program sees.
import type { NotificationEndpointConfig, WebhooksConfig } from "./config.ts";
import { type EndpointInput, type Entries, type Entry, problemAt } from "./entry.ts";
import { headerValue, webhookSecret, webhookSources } from "./hook-types.ts";
import { type Problem, quote } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import type { Values } from "./schema.ts";
import { fixedSecret, type SecretSource } from "./secret.ts";
import { readSecretSetting, type SecretKind } from "./secret-setting.ts";
import type { CommonKey } from "./settings.ts";

/** Secrets out of files, by the label of the setting that names the file. */
type SecretsByLabel = ReadonlyMap<string, SecretSource>;

export interface HookSecrets {
  readonly problems: readonly Problem[];
  readonly secrets: SecretsByLabel;
}

const headerKind: SecretKind = { word: "header's value", type: headerValue };
const webhookKind: SecretKind = { word: "webhook secret", type: webhookSecret };

/** Reads every file with a secret that the two sections name. */
export function readHookSecrets(entries: Entries, readFile: ReadFile): HookSecrets {
  const problems: Problem[] = [];
  const secrets = new Map<string, SecretSource>();
  const read = (entry: Entry | undefined, kind: SecretKind): void => {
    const result = readSecretSetting(entry, kind, readFile);
    if ("problem" in result) problems.push(result.problem);
    else if (entry !== undefined && result.source !== undefined) secrets.set(entry.label, result.source);
  };
  read(entries.get("webhooks.secretFile"), webhookKind);
  for (const entry of partsOf(entries.get("webhooks.secretFiles"))) read(entry, webhookKind);
  for (const endpoint of endpointsOf(entries))
    for (const entry of partsOf(endpoint, "headerFiles")) read(entry, headerKind);
  return { problems, secrets };
}

/** What contradicts what in the two sections. */
export function hookProblems(entries: Entries): Problem[] {
  const [secret, file] = [entries.get("webhooks.secret"), entries.get("webhooks.secretFile")];
  const either =
    secret === undefined || file === undefined
      ? []
      : [problemAt(file, `found both this and ${secret.label}, expected only one of the two`)];
  const endpoints = endpointsOf(entries);
  return [...either, ...repeatedNames(endpoints), ...endpoints.flatMap(repeatedHeaders)];
}

function repeatedNames(endpoints: readonly Entry[]): Problem[] {
  const names = endpoints.map(({ input }) => (input as EndpointInput).name?.trim());
  return endpoints.flatMap((endpoint, index) => {
    const name = names[index];
    if (name === undefined || names.indexOf(name) === index) return [];
    return problemAt(endpoint, `found ${quote(name)}, which another endpoint has`, `${endpoint.label}.name`);
  });
}

function repeatedHeaders(endpoint: Entry): Problem[] {
  const { headers = {}, headerFiles = {} } = endpoint.input as EndpointInput;
  const paths = [
    ...Object.keys(headers).map((name) => `headers.${name}`),
    ...Object.keys(headerFiles).map((name) => `headerFiles.${name}`),
  ];
  const names = paths.map((path) => path.slice(path.indexOf(".") + 1).toLowerCase());
  return paths
    .filter((_, index) => names.indexOf(names[index] as string) !== index)
    .map((path) =>
      problemAt(endpoint, "found this header twice, expected it once", `${endpoint.label}.${path}`),
    );
}

/** `secrets` are those that were read for the same settings. */
export function notificationsConfig(
  values: Values<CommonKey>,
  entries: Entries,
  secrets: SecretsByLabel,
): { readonly endpoints: readonly NotificationEndpointConfig[] } | undefined {
  const label = entries.get("notifications.endpoints")?.label;
  const endpoints = (values["notifications.endpoints"] ?? []).map((endpoint, index) => {
    const { headers = {}, headerFiles = {}, ignore = {}, ...rest } = endpoint;
    const inText = Object.entries(headers).map(([name, value]) => ({
      name,
      value: fixedSecret(value),
      file: undefined,
    }));
    const inFiles = Object.entries(headerFiles).map(([name, file]) => ({
      name,
      value: sourceAt(secrets, `${label}[${index}].headerFiles.${name}`),
      file,
    }));
    return {
      ...rest,
      headers: [...inText, ...inFiles],
      ignore: { actions: ignore.actions ?? [], mediaTypes: ignore.mediaTypes ?? [] },
    };
  });
  return endpoints.length === 0 ? undefined : { endpoints };
}

/** Undefined when no source has a secret. */
export function webhooksConfig(
  values: Values<CommonKey>,
  entries: Entries,
  secrets: SecretsByLabel,
): WebhooksConfig | undefined {
  const inText = values["webhooks.secret"];
  const common =
    inText === undefined ? secrets.get(entries.get("webhooks.secretFile")?.label ?? "") : fixedSecret(inText);
  const files: Readonly<Record<string, string>> = values["webhooks.secretFiles"] ?? {};
  const label = entries.get("webhooks.secretFiles")?.label;
  const own = Object.keys(files).map((source) => [source, sourceAt(secrets, `${label}.${source}`)] as const);
  const shared = common === undefined ? [] : webhookSources.map((source) => [source, common] as const);
  if (own.length === 0 && shared.length === 0) return undefined;
  return {
    secrets: Object.fromEntries([...shared, ...own]),
    files,
    prefetch: values["webhooks.prefetch"],
  };
}

function sourceAt(secrets: SecretsByLabel, label: string): SecretSource {
  const source = secrets.get(label);
  if (source === undefined) throw new TypeError(`${label} was checked to be read`);
  return source;
}

/** Each endpoint as an entry of its own. */
function endpointsOf(entries: Entries): Entry[] {
  const entry = entries.get("notifications.endpoints");
  if (entry === undefined || !Array.isArray(entry.input)) return [];
  return (entry.input as readonly EndpointInput[]).map((input, index) => ({
    ...entry,
    input: input as Entry["input"],
    label: `${entry.label}[${index}]`,
  }));
}

/** Each text of a mapping, or of the mapping `part` in it, as an entry of its own. */
function partsOf(entry: Entry | undefined, part?: "headerFiles"): Entry[] {
  if (entry === undefined) return [];
  const map = part === undefined ? entry.input : (entry.input as EndpointInput)[part];
  const label = part === undefined ? entry.label : `${entry.label}.${part}`;
  return Object.entries(map ?? {}).map(([key, input]) => ({
    ...entry,
    input: String(input),
    label: `${label}.${key}`,
  }));
}
