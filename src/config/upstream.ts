// One upstream, from what was set to what the rest of the program sees.
import type { TlsConfig, UpstreamConfig } from "./config.ts";
import type { UpstreamInput } from "./entry.ts";
import { helperRegistry, plainUpstream } from "./plain-upstream.ts";
import type { Problem } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import { parseUpstream, type Values } from "./schema.ts";
import type { UpstreamKey } from "./settings.ts";
import { loginProblems, readSecretFiles, type SecretFiles, upstreamAuth } from "./upstream-auth.ts";
import { readTlsFiles } from "./upstream-tls.ts";
import { valueProblem } from "./value-problem.ts";

/** An upstream without problems, as far as they are its own; `namespaces` undefined means those of its registry. */
interface Understood {
  readonly values: Values<UpstreamKey>;
  readonly secrets: SecretFiles;
  readonly tls: Omit<TlsConfig, "serverName">;
}

/** Everything that one upstream's settings say, or every problem within them. Reads the files they name. */
export function understandUpstream(
  input: UpstreamInput,
  readFile: ReadFile,
): Understood | { readonly problems: readonly Problem[] } {
  const parsed = parseUpstream(input.entries);
  const secrets = readSecretFiles(input, readFile);
  const tls = readTlsFiles(input, readFile);
  const problems = [
    ...loginProblems(input),
    ...("issues" in parsed ? parsed.issues.map((issue) => valueProblem(issue, input.entries)) : []),
    ...secrets.problems,
    ...("problems" in tls ? tls.problems : []),
  ];
  if (problems.length > 0 || !("values" in parsed) || !("files" in tls)) return { problems };
  return { values: parsed.values, secrets: secrets.files, tls: tls.files };
}

/** `taken` are the namespaces that other upstreams have: one that nobody asked for gives way to them. */
export function upstreamConfig(
  { values, secrets, tls }: Understood,
  taken: ReadonlySet<string>,
): UpstreamConfig {
  const url = values["upstream.url"];
  if (url === undefined) throw new TypeError("upstream.url was checked to be set");
  const plain = plainUpstream(values["upstream.name"], url);
  return {
    ...plain,
    auth: upstreamAuth(values, secrets, helperRegistry(url)),
    tokenRealms: values["upstream.tokenRealms"] ?? [],
    tls: tlsConfig(tls, values["upstream.tls.serverName"]),
    redirects: { allowPrivate: values["upstream.redirectsTo"] ?? [] },
    connectTimeout: values["upstream.connectTimeout"],
    firstByteTimeout: values["upstream.firstByteTimeout"],
    idleTimeout: values["upstream.idleTimeout"],
    maxConnections: values["upstream.maxConnections"],
    segments: values["upstream.segments"],
    repositoryPrefix: values["upstream.repositoryPrefix"] ?? "",
    routing: {
      component: values["upstream.component"],
      namespaces:
        values["upstream.namespaces"] ??
        plain.routing.namespaces.filter((namespace) => !taken.has(namespace)),
      hosts: values["upstream.hosts"] ?? [],
      library: values["upstream.library"] ?? plain.routing.library,
      allow: values["upstream.allow"] ?? [],
      deny: values["upstream.deny"] ?? [],
      next: values["upstream.next"],
    },
    tags: { ttl: values["upstream.tags.ttl"], rules: values["upstream.tags.rules"] ?? [] },
    push: values["upstream.push"],
  };
}

function tlsConfig(
  files: Omit<TlsConfig, "serverName">,
  serverName: string | undefined,
): TlsConfig | undefined {
  const { ca, cert } = files;
  return ca === undefined && cert === undefined && serverName === undefined
    ? undefined
    : { ...files, serverName };
}
