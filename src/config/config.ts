// The resolved configuration: what the rest of the program sees. Durations in milliseconds, sizes in bytes. What is
// written in the file under a key stands here under the same key, but for what several keys say together.
import { hostname } from "node:os";
import type { z } from "zod";
import type { AccessRule } from "../gate/access-rules.ts";
import type { CertificateNaming } from "../gate/certificate-caller.ts";
import type { LdapSettings } from "../gate/ldap/ldap-directory.ts";
import { webhookSources } from "../ports/event.ts";
import { fixedSecret, type Secret, type SecretSource } from "../ports/secret.ts";
import type { Address } from "./address.ts";
import {
  type BlockFileConfig,
  Files,
  type HtpasswdConfig,
  type ListenerTlsConfig,
  type TlsConfig,
} from "./files.ts";
import { namesBehind } from "./next-chain.ts";
import { type ProxyConfig, proxyConfigOf, usedProxies } from "./proxy.ts";
import { schema } from "./schema.ts";
import type { Path } from "./settings.ts";
import type { Environment } from "./yaml.ts";

export type { Address } from "./address.ts";
export type { BlockFileConfig, HtpasswdConfig, ListenerTlsConfig, TlsConfig } from "./files.ts";
export type { ProxyConfig, ProxyServer } from "./proxy.ts";

/** Nothing in it can be set; secrets and URLs are left as they are. */
type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends Secret | URL | string | number | boolean | undefined
    ? T
    : { readonly [Key in keyof T]: Frozen<T[Key]> };

/** Those keys, of which every one has a value. */
type Filled<T, Keys extends keyof T> = { [Key in Keys]-?: NonNullable<T[Key]> };

/** What the schema makes of the settings. */
export type Values = z.output<typeof schema>;
type UpstreamValues = Values["upstream"];
type S3Values = Values["s3"];

/** How this mirror proves itself to an upstream. Bearer tokens (whenever upstream asks for them) need no kind. */
export type UpstreamAuth =
  | { readonly kind: "none" }
  | { readonly kind: "basic"; readonly username: string; readonly password: SecretSource }
  /** A whole Authorization value, such as `Bearer xyz` or `Token xyz`, sent as it is. */
  | { readonly kind: "header"; readonly value: SecretSource }
  | {
      readonly kind: "helper";
      /** `name` for `docker-credential-name` in the PATH, or an absolute path. */
      readonly program: string;
      /** What the program is asked for: the registry's name in its store, usually its host. */
      readonly registry: string;
      /** How long an answer is used. */
      readonly lifetime: number;
    }
  /** What the cloud gives to this machine. */
  | {
      readonly kind: "cloud";
      readonly cloud: "ecr" | "gcp" | "azure";
      readonly identity: string | undefined;
      /** Where the cloud is asked; undefined for its usual address. */
      readonly url: URL | undefined;
      /** Empty with a `url`. */
      readonly environment: CloudEnvironment;
    };

/** Variables that tell the SDKs of Google and Azure who a program is outside of their own machines. The AWS SDK reads its own. */
const cloudVariables = [
  "GOOGLE_APPLICATION_CREDENTIALS",
  "AZURE_TENANT_ID",
  "AZURE_CLIENT_ID",
  "AZURE_FEDERATED_TOKEN_FILE",
  "AZURE_AUTHORITY_HOST",
] as const;

/** Those that are set. */
export type CloudEnvironment = Readonly<Partial<Record<(typeof cloudVariables)[number], string>>>;

/** Settings that say together how to log in. */
const loginKeys = [
  "username",
  "password",
  "passwordFile",
  "authorization",
  "authorizationFile",
  "credentialHelper",
  "credentialHelperRegistry",
  "credentialHelperLifetime",
  "credentialSource",
  "credentialSourceIdentity",
  "credentialSourceUrl",
] as const satisfies (keyof UpstreamValues)[];

type FilledKey = "url" | "library" | "namespaces" | "access";
type ProxyKey = "proxy" | "noProxy";

/** What makes the next upstream be asked: 404 and 410, 401 and 403, no usable answer. */
export type Occasion = "absent" | "denied" | "failure";

/** See the schema for what each key means. */
export type UpstreamConfig = Frozen<
  Omit<
    UpstreamValues,
    (typeof loginKeys)[number] | ProxyKey | "tls" | "repositoryPrefix" | "next" | FilledKey
  > &
    Filled<UpstreamValues, FilledKey>
> & {
  /** "" for none. */
  readonly repositoryPrefix: string;
  readonly auth: UpstreamAuth;
  /** The upstream to ask when this one does not have it, refuses or fails. */
  readonly next?: { readonly upstream: string; readonly on: readonly Occasion[] } | undefined;
  /** For https; left out: what Node trusts, and no certificate of our own. */
  readonly tls?: TlsConfig | undefined;
  /** Left out: everything is connected to directly. */
  readonly proxy?: ProxyConfig | undefined;
};

/** Another mirror, in another datacenter. See the schema for what each key means. */
export interface SiblingConfig {
  readonly name: string;
  readonly url: URL;
  /** What each upstream is called there, by its name here; undefined: all, as here. */
  readonly upstreams: Readonly<Record<string, string>> | undefined;
  readonly auth: UpstreamAuth;
  readonly tls: TlsConfig | undefined;
  /** Milliseconds. */
  readonly timeout: number;
  /** Milliseconds of silence in the middle of an answer after which the rest comes from elsewhere; left out: 2,000. No setting. */
  readonly idleTimeout?: number | undefined;
  readonly maxConnections: number;
}

/** Redis, where the nodes of one datacenter share what they know. */
export interface RedisConfig {
  readonly servers:
    | ({ readonly kind: "standalone" } & Address)
    | {
        readonly kind: "sentinel";
        readonly sentinels: readonly Address[];
        /** What the sentinels call the group of servers. */
        readonly master: string;
        readonly password: SecretSource | undefined;
      }
    | { readonly kind: "cluster"; readonly nodes: readonly Address[] };
  /** Left out: the default user. */
  readonly username: string | undefined;
  readonly password: SecretSource | undefined;
  readonly database: number;
  /** What every key and channel begins with. */
  readonly prefix: string;
  /** Undefined: no TLS. */
  readonly tls: TlsConfig | undefined;
}

/** A bucket of an S3-compatible store that the nodes of one datacenter share. See the schema for what each key means. */
export type S3Config = Frozen<
  Filled<S3Values, "bucket" | "region" | "prefix" | "pathStyle"> &
    Pick<S3Values, "endpoint" | "maxSize" | "redirectAbove">
> & {
  /** Left out: it is connected to directly. */
  readonly proxy?: ProxyConfig | undefined;
  /** Undefined: the AWS SDK finds them (environment, files, instance role). */
  readonly credentials:
    | { readonly accessKeyId: SecretSource; readonly secretAccessKey: SecretSource }
    | undefined;
  /** Encryption asked for with every object; undefined: what the bucket does by itself. */
  readonly encryption:
    | { readonly algorithm: "AES256"; readonly keyId?: undefined }
    | { readonly algorithm: "aws:kms"; readonly keyId: string | undefined }
    | undefined;
};

type EndpointValues = Values["notifications"]["endpoints"][number];

/** See telemetry/notifications/notification-endpoint.ts for what each of them does. */
export type NotificationEndpointConfig = Frozen<Omit<EndpointValues, "headers" | "headerFiles">> & {
  readonly headers: HeaderSources;
};

/** Headers that are sent along, each of which may change. */
export type HeaderSources = readonly { readonly name: string; readonly value: SecretSource }[];

export interface WebhooksConfig {
  /** By source; one without a secret takes nothing. */
  readonly secrets: Readonly<Record<string, SecretSource>>;
  /** Whether a pushed tag that has been pulled through here is fetched at once. */
  readonly prefetch: boolean;
}

export interface NodeConfig {
  readonly name: string;
  readonly address: string | undefined;
  /** Left out: whoever says to be a node of the datacenter is taken for one. */
  readonly secret?: SecretSource | undefined;
}

/** What the ops listener asks for; one of password and token at least. */
export interface OpsAccessConfig {
  /** Undefined: any. */
  readonly username: string | undefined;
  readonly password: SecretSource | undefined;
  readonly token: SecretSource | undefined;
}

/** Files with a line of InfluxDB's line protocol for every request. */
export type InfluxConfig = Frozen<Values["influx"]> & { readonly dir: string };

/** Traces and metrics by OTLP. Times in milliseconds, `sampleRatio` 0 to 1. */
export type OtelConfig = Frozen<Omit<Values["otel"], "headers" | "headerFiles">> & {
  readonly endpoint: string;
  readonly headers: HeaderSources;
};

/** Who may do what. */
export interface AccessConfig {
  /** The users there are; where there is neither a file nor a directory nobody is asked for a name. */
  readonly htpasswd: HtpasswdConfig | undefined;
  /** A directory of users beside them, or alone. Left out: there is none. */
  readonly ldap?: LdapSettings | undefined;
  /** Callers show credentials of an upstream, which says what they may; left out: of none. Times in milliseconds. */
  readonly passthrough?: { readonly proofLifetime: number } | undefined;
  readonly rules: readonly AccessRule[];
  /** What names callers in certificates they show; left out: nothing does. */
  readonly certificates?: CertificateNaming | undefined;
  /** The tokens that callers are given; left out: none. */
  readonly tokens?: TokensConfig | undefined;
  /** Another token server, whose tokens are taken; left out: there is none. */
  readonly issuer?: IssuerConfig | undefined;
  /** Platforms whose workloads log in by their tokens. */
  readonly workloads?: readonly WorkloadsConfig[] | undefined;
  /** For connections to where keys are; left out: they are direct. */
  readonly proxy?: ProxyConfig | undefined;
}

/** Where the public keys of an issuer are. */
export type KeysConfig =
  | { readonly kind: "url"; readonly url: URL }
  | { readonly kind: "file"; readonly file: SecretSource }
  /** Where the issuer's own document says (OpenID Connect Discovery, section 4). */
  | { readonly kind: "discovery" };

export interface IssuerConfig {
  readonly issuer: string;
  readonly audience: string;
  readonly keys: KeysConfig;
  /** Where clients get its tokens. */
  readonly realm: string;
}

/** See gate/token/workload-identities.ts. */
export interface WorkloadsConfig {
  readonly name: string;
  readonly issuer: string;
  readonly audience: string;
  readonly keys: KeysConfig;
  readonly claims: Readonly<Record<string, string>>;
  readonly groups: readonly string[];
}

/** Whether callers are asked who they are. */
export function asksForNames(access: AccessConfig | undefined): boolean {
  const { htpasswd, ldap, issuer, workloads = [] } = access ?? {};
  return [htpasswd, ldap, issuer].some((each) => each !== undefined) || workloads.length > 0;
}

export interface TokensConfig {
  /** Undefined: one that is made at the start. */
  readonly key: SecretSource | undefined;
  /** Milliseconds. */
  readonly lifetime: number;
  /** The `service` of challenges. */
  readonly audience: string;
  /** Undefined: wherever the client reaches this mirror. */
  readonly realm: string | undefined;
}

/** Sections that nothing comes from until something in them is set, and what is no key of the configuration. */
type OwnKey =
  | ProxyKey
  | "offline"
  | "upstream"
  | "upstreams"
  | "node"
  | "access"
  | "limits"
  | "influx"
  | "otel"
  | "s3"
  | "redis"
  | "siblings"
  | "notifications"
  | "webhooks"
  | "warm"
  | "pin"
  | "block"
  | "opsAccess"
  | "opsPage"
  | "listenTls"
  | "opsTls";

/** See the schema for what each key means. */
export type Config = Frozen<Omit<Values, OwnKey>> & {
  readonly node: NodeConfig;
  readonly upstreams: readonly [UpstreamConfig, ...UpstreamConfig[]];
  /** Left out: nobody is asked, and everybody may what the upstreams allow. */
  readonly access?: AccessConfig | undefined;
  /** What one client may have at once; see http/client-limits.ts. Left out: its defaults, for everybody. */
  readonly limits?: Frozen<Values["limits"]> | undefined;
  /** Undefined: no such files. */
  readonly influx?: InfluxConfig | undefined;
  /** Undefined: nothing is sent by OTLP. */
  readonly otel?: OtelConfig | undefined;
  /** Undefined: this node shares nothing. */
  readonly redis?: RedisConfig | undefined;
  /** Left out: none. */
  readonly siblings?: readonly SiblingConfig[] | undefined;
  /** Undefined: nothing is shared with other nodes but what upstream has. */
  readonly s3?: S3Config | undefined;
  /** Undefined: nobody is told of pulls and pushes. */
  readonly notifications?: { readonly endpoints: readonly NotificationEndpointConfig[] } | undefined;
  /** Undefined: no webhook is taken. */
  readonly webhooks?: WebhooksConfig | undefined;
  /** Images that are fetched before clients ask for them; left out: none. `bandwidth` in bytes a second. */
  readonly warm?: Frozen<Values["warm"]> | undefined;
  /** Which images are never evicted; left out: none but those that are commanded. `refresh` in milliseconds. */
  readonly pin?: Frozen<Values["pin"]> | undefined;
  /** Digests that are given to nobody; left out: none but those that are commanded. */
  readonly block?: { readonly file: BlockFileConfig } | undefined;
  /** Undefined: clients are answered over plain HTTP. */
  readonly listenTls?: ListenerTlsConfig | undefined;
  /** The same of the ops listener. */
  readonly opsTls?: ListenerTlsConfig | undefined;
  /** Undefined: the ops listener asks for neither a password nor a token. */
  readonly opsAccess?: OpsAccessConfig | undefined;
  /** Left out: the page links to nothing, and clients know the mirror by the node's name. */
  readonly opsPage?: Frozen<Values["opsPage"]> | undefined;
};

// ---- what depends on other settings -------------------------------------------------------------------------------

/** Names of Docker Hub in image references; its registry has another host. */
const dockerHub = {
  namespace: "docker.io",
  host: "registry-1.docker.io",
  /** What docker login calls it. */
  login: "https://index.docker.io/v1/",
};

/** Sets what was left to a default that other settings decide. `taken` are the namespaces the configuration names. */
export function fillDefaults(values: Values, taken: ReadonlySet<string>): void {
  values.node.name ??= hostname();
  if (values.s3.bucket !== undefined) values.s3.pathStyle ??= values.s3.endpoint !== undefined;
  const { tls, url } = values.redis;
  tls.enabled ??= url?.tls === true || [tls.ca, tls.cert, tls.serverName].some((each) => each !== undefined);
  const upstreams = upstreamsOf(values);
  for (const { next } of upstreams)
    if (next !== undefined) next.on ??= usualOccasions(upstreams, next.upstream);
  const named = new Set(taken);
  for (const upstream of upstreamsOf(values)) {
    const isHub = upstream.url?.hostname === dockerHub.host;
    upstream.library ??= isHub;
    const { mode } = values.access;
    if (mode === "open" || mode === "passthrough") upstream.access ??= mode;
    // A namespace that nobody asked for gives way to one that another upstream names.
    upstream.namespaces ??= isHub && !named.has(dockerHub.namespace) ? [dockerHub.namespace] : [];
    for (const namespace of upstream.namespaces) named.add(namespace);
    if (upstream.credentialHelper !== undefined)
      upstream.credentialHelperRegistry ??= isHub ? dockerHub.login : upstream.url?.host;
  }
}

/** On a failure only when all that may be asked then say what may come from them (rules.ts). `first`: the next upstream. */
function usualOccasions(upstreams: readonly UpstreamValues[], first: string): Occasion[] {
  const byName = new Map(upstreams.map((each) => [each.name, each]));
  const asked = [first, ...namesBehind(first, (name) => byName.get(name)?.next?.upstream)];
  if (asked.some((name) => byName.get(name)?.allow.length === 0)) return ["absent"];
  return ["absent", "failure"];
}

/** Those of the list, or the one that stands alone. */
function upstreamsOf({ upstreams, upstream }: Values): UpstreamValues[] {
  return upstreams.length > 0 ? upstreams : [upstream];
}

// ---- from values to the configuration -----------------------------------------------------------------------------

/** The configuration of values without problems. `paths` are those of all upstreams; `usual` are the proxies unless set. */
export function configOf(
  values: Values,
  paths: readonly Path[],
  files: Files,
  usual: ProxyConfig,
  env: Environment,
): Config {
  const { upstream: _one, upstreams: _list, proxy: _proxy, noProxy: _noProxy, ...rest } = values;
  const { offline, influx, otel: _otel, ...others } = rest;
  const common = proxyConfigOf(values, usual);
  const [first, ...more] = upstreamsOf(values).map((each, i) => ({
    ...upstreamOf(each, paths[i] as Path, files, env),
    proxy: usedProxies(proxyConfigOf(each, common)),
    ...((each.offline ?? offline) ? { offline: true } : {}),
  }));
  const { dir } = influx;
  return {
    ...others,
    node: {
      name: values.node.name ?? hostname(),
      address: values.node.address,
      secret: files.secret(values.node, ["node"], "secret"),
    },
    access: accessOf(values, files, usedProxies(common)),
    upstreams: [first as UpstreamConfig, ...more],
    influx: dir === undefined ? undefined : { ...influx, dir },
    otel: otelOf(values.otel, files),
    s3: s3Of(values.s3, files, usedProxies(common)),
    redis: redisOf(values.redis, files),
    siblings: values.siblings.map((each, index) => siblingOf(each, ["siblings", index], files)),
    notifications: notificationsOf(values.notifications, files),
    webhooks: webhooksOf(values.webhooks, files),
    block: files.blocked && { file: files.blocked },
    opsAccess: opsAccessOf(values.opsAccess, files),
    listenTls: listenerTlsOf(values.listenTls),
    opsTls: listenerTlsOf(values.opsTls),
  };
}

function upstreamOf(values: UpstreamValues, path: Path, files: Files, env: Environment): UpstreamConfig {
  const { url, library = false, namespaces = [], access = "open" } = values;
  if (url === undefined) throw new TypeError("the URL of every upstream was checked to be set");
  const repositoryPrefix: string = values.repositoryPrefix ?? "";
  const filled = {
    ...without(values, [...loginKeys, "proxy", "noProxy", "offline"]),
    url,
    library,
    namespaces,
    access,
    repositoryPrefix,
  };
  const auth = authOf(values, path, files, env);
  const next = values.next && { upstream: values.next.upstream, on: values.next.on ?? [] };
  return { ...filled, auth, next, tls: files.tls([...path, "tls"], values.tls.serverName) };
}

function without<T extends object, Key extends keyof T>(value: T, keys: readonly Key[]): Omit<T, Key> {
  const others = Object.entries(value).filter(([key]) => !keys.includes(key as Key));
  return Object.fromEntries(others) as Omit<T, Key>;
}

function authOf(values: UpstreamValues, path: Path, files: Files, env: Environment): UpstreamAuth {
  const header = files.secret(values, path, "authorization");
  if (header !== undefined) return { kind: "header", value: header };
  const { username, credentialHelper, credentialHelperRegistry, credentialHelperLifetime } = values;
  if (credentialHelper !== undefined)
    return {
      kind: "helper",
      program: credentialHelper,
      registry: credentialHelperRegistry ?? "",
      lifetime: credentialHelperLifetime,
    };
  if (values.credentialSource !== undefined)
    return {
      kind: "cloud",
      cloud: values.credentialSource,
      identity: values.credentialSourceIdentity,
      url: values.credentialSourceUrl,
      environment: values.credentialSourceUrl === undefined ? cloudEnvironment(env) : {},
    };
  const password = files.secret(values, path, "password");
  if (username === undefined || password === undefined) return { kind: "none" };
  return { kind: "basic", username, password };
}

function cloudEnvironment(env: Environment): CloudEnvironment {
  return Object.fromEntries(cloudVariables.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
}

/** What every setting comes to when only a name and a URL are given. */
export function plainUpstream(name: string, url: URL): UpstreamConfig {
  const values = schema.parse({ upstream: { name, url: url.href } });
  fillDefaults(values, new Set());
  return upstreamOf(values.upstream, ["upstream"], new Files(), {});
}

function accessOf(values: Values, files: Files, proxy: ProxyConfig | undefined): AccessConfig | undefined {
  const { mode, rules, ldap, oidc, token, proofLifetime } = values.access;
  const passes = upstreamsOf(values).some(({ access }) => access === "passthrough");
  if (mode === "open" && rules.length === 0 && !passes) return undefined;
  const asksDirectory = mode === "ldap" || (mode === "token" && ldap.urls.length > 0);
  return {
    htpasswd: mode === "open" ? undefined : files.htpasswd,
    ldap: asksDirectory ? ldapOf(ldap, files) : undefined,
    certificates: certificatesOf(values.access),
    tokens: givesTokens(values.access) ? tokensOf(token, files) : undefined,
    issuer: issuerOf(token, files),
    workloads: oidc.map((each, index) => {
      const { name, issuer, audience, claims, groups } = each;
      return { name, issuer, audience, claims, groups, keys: keysOf(each, ["access", "oidc", index], files) };
    }),
    proxy,
    passthrough: passes ? { proofLifetime } : undefined,
    rules: rules.map((rule) => ({
      ...rule,
      verbs: rule.verbs.length === 0 ? (["pull", "list"] as const) : rule.verbs,
    })),
  };
}

function certificatesOf({
  clientCertificates: name,
  clientCertificateGroups: groups,
}: Values["access"]): CertificateNaming | undefined {
  return name === "none" ? undefined : { name, groups };
}

function ldapOf(values: Values["access"]["ldap"], files: Files): LdapSettings {
  const { urls, startTls, bindDn, userDn, userBase = "", userFilter, userAttribute, timeout } = values;
  const { groupBase, groupFilter, groupAttribute, memberOf } = values;
  const path: Path = ["access", "ldap"];
  const password = files.secret(values, path, "bindPassword");
  const groups = { base: groupBase ?? "", filter: groupFilter };
  return {
    servers: urls,
    startTls,
    ca: files.tls(path, undefined)?.ca,
    account: bindDn === undefined || password === undefined ? undefined : { dn: bindDn, password },
    users:
      userDn === undefined
        ? { kind: "search", base: userBase, filter: userFilter, attribute: userAttribute }
        : { kind: "template", dn: userDn },
    groups:
      groupBase === undefined
        ? undefined
        : memberOf === undefined
          ? { ...groups, kind: "search", attribute: groupAttribute }
          : { ...groups, kind: "attribute", attribute: memberOf },
    timeout,
  };
}

/** A client without a name stops at any challenge but one for a token. */
function givesTokens({ mode, rules, token }: Values["access"]): boolean {
  if (token.issuer !== undefined) return false;
  return mode === "token" || (mode !== "open" && rules.some(({ anonymous }) => anonymous));
}

function tokensOf(values: Values["access"]["token"], files: Files): TokensConfig {
  const { lifetime, audience, realm } = values;
  return { key: files.secretIn(["access", "token", "keyFile"]), lifetime, audience, realm };
}

function issuerOf(values: Values["access"]["token"], files: Files): IssuerConfig | undefined {
  const { issuer, audience, realm } = values;
  if (issuer === undefined || realm === undefined) return undefined;
  return { issuer, audience, realm, keys: keysOf(values, ["access", "token"], files) };
}

function keysOf(
  { jwksUrl: url }: { readonly jwksUrl?: URL | undefined },
  path: Path,
  files: Files,
): KeysConfig {
  const file = files.secretIn([...path, "jwksFile"]);
  if (file !== undefined) return { kind: "file", file };
  return url === undefined ? { kind: "discovery" } : { kind: "url", url };
}

function siblingOf(values: Values["siblings"][number], path: Path, files: Files): SiblingConfig {
  const { name, url, upstreams, username, timeout, maxConnections } = values;
  const password = files.secret(values, path, "password");
  return {
    name,
    url,
    upstreams: Object.keys(upstreams).length === 0 ? undefined : upstreams,
    auth:
      username === undefined || password === undefined
        ? { kind: "none" }
        : { kind: "basic", username, password },
    tls: files.tls([...path, "tls"], values.tls.serverName),
    timeout,
    maxConnections,
  };
}

function redisOf(values: Values["redis"], files: Files): RedisConfig | undefined {
  const { username, db: database, prefix, tls } = values;
  const servers = redisServersOf(values, files);
  if (servers === undefined) return undefined;
  return {
    servers,
    username,
    password: files.secret(values, ["redis"], "password"),
    database,
    prefix,
    tls: tls.enabled === true ? (files.tls(["redis", "tls"], tls.serverName) ?? {}) : undefined,
  };
}

function redisServersOf(values: Values["redis"], files: Files): RedisConfig["servers"] | undefined {
  const { url, sentinels, master, cluster } = values;
  if (url !== undefined) return { kind: "standalone", host: url.host, port: url.port };
  if (sentinels.length > 0 && master !== undefined)
    return {
      kind: "sentinel",
      sentinels,
      master,
      password: files.secret(values, ["redis"], "sentinelPassword"),
    };
  return cluster.length > 0 ? { kind: "cluster", nodes: cluster } : undefined;
}

function s3Of(values: S3Values, files: Files, proxy: ProxyConfig | undefined): S3Config | undefined {
  const { bucket, endpoint, region, prefix = "", pathStyle = false, maxSize, redirectAbove } = values;
  if (bucket === undefined) return undefined;
  const { sse, sseKeyId } = values;
  const accessKeyId = files.secret(values, ["s3"], "accessKeyId");
  const secretAccessKey = files.secret(values, ["s3"], "secretAccessKey");
  return {
    endpoint,
    region,
    bucket,
    prefix,
    pathStyle,
    credentials: accessKeyId && secretAccessKey && { accessKeyId, secretAccessKey },
    encryption: sse && (sse === "aws:kms" ? { algorithm: sse, keyId: sseKeyId } : { algorithm: sse }),
    maxSize,
    redirectAbove,
    proxy,
  };
}

function notificationsOf(values: Values["notifications"], files: Files): Config["notifications"] {
  const endpoints = values.endpoints.map((endpoint, index): NotificationEndpointConfig => {
    const { headers: _headers, headerFiles: _files, ...others } = endpoint;
    return { ...others, headers: headersOf(endpoint, ["notifications", "endpoints", index], files) };
  });
  return endpoints.length === 0 ? undefined : { endpoints };
}

/** Undefined when there is no endpoint. */
function otelOf(values: Values["otel"], files: Files): OtelConfig | undefined {
  const { endpoint, headers: _headers, headerFiles: _files, ...others } = values;
  return endpoint === undefined
    ? undefined
    : { ...others, endpoint, headers: headersOf(values, ["otel"], files) };
}

/** Those of the section at `path`, which has some as they are and some in files. */
function headersOf(
  { headers, headerFiles }: Pick<Values["otel"], "headers" | "headerFiles">,
  path: Path,
  files: Files,
): HeaderSources {
  const sources = {
    ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, fixedSecret(value)])),
    ...files.secrets([...path, "headerFiles"], Object.keys(headerFiles)),
  };
  return Object.entries(sources).map(([name, value]) => ({ name, value }));
}

/** Undefined when no source has a secret. */
function webhooksOf(values: Values["webhooks"], files: Files): WebhooksConfig | undefined {
  const common = files.secret(values, ["webhooks"], "secret");
  const secrets: Record<string, SecretSource> = {
    ...(common && Object.fromEntries(webhookSources.map((source) => [source, common]))),
    ...files.secrets(["webhooks", "secretFiles"], Object.keys(values.secretFiles)),
  };
  return Object.keys(secrets).length === 0 ? undefined : { secrets, prefetch: values.prefetch };
}

/** Undefined when there is neither a password nor a token. */
function opsAccessOf(values: Values["opsAccess"], files: Files): OpsAccessConfig | undefined {
  const password = files.secret(values, ["opsAccess"], "password");
  const token = files.secret(values, ["opsAccess"], "token");
  if (password === undefined && token === undefined) return undefined;
  return { username: values.username, password, token };
}

function listenerTlsOf(values: {
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly clientCaFile?: string | undefined;
  readonly clientCertificates?: "optional" | "required" | undefined;
}): ListenerTlsConfig | undefined {
  const { certFile, keyFile, clientCaFile, clientCertificates } = values;
  const clientsNeedOne = clientCertificates === "required";
  return certFile === undefined || keyFile === undefined
    ? undefined
    : { certFile, keyFile, clientCaFile, clientsNeedOne };
}
