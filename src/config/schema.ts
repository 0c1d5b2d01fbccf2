// The one schema of the configuration: each key with its type, meaning and default; its environment variable is its path.
// Parsing, types, --help, docs, `entrepot check` and the JSON Schema for editors are made from it. A new key is one entry.
import { z } from "zod";
import { verbs } from "../gate/access-rules.ts";
import * as t from "./types/text-types.ts";

/** What is known of a key besides its type. */
export interface About {
  /** One sentence for people, without its full stop. */
  readonly description: string;
  /** As a user would write it. */
  readonly default?: string;
  /** Environment variable after `ENTREPOT_`: the key's path unless said; false for what only the file can say. */
  readonly env?: string | false;
  /** The key beside it without which it does not count. */
  readonly besides?: string;
}

type More = Omit<About, "description">;

/** What is known of the keys, by their type. */
export const abouts = z.registry<About>();

/** A key with a default, a list or mapping that is empty unless set, or a key that may be left out. */
function setting<T extends z.ZodType>(
  type: T,
  description: string,
  more: More & { readonly default: string },
): z.ZodPrefault<T>;
function setting<T extends z.ZodArray | z.ZodRecord>(
  type: T,
  description: string,
  more?: More,
): z.ZodDefault<T>;
function setting<T extends z.ZodType>(type: T, description: string, more?: More): z.ZodOptional<T>;
function setting(type: z.ZodType, description: string, more: More = {}): z.ZodType {
  const made = withDefault(type, more.default);
  abouts.add(made, { ...more, description });
  return made;
}

function withDefault(type: z.ZodType, written: string | undefined): z.ZodType {
  if (written !== undefined) return z.prefault(type, written);
  if (type instanceof z.ZodArray) return type.default([]);
  return type instanceof z.ZodRecord ? type.default({}) : z.optional(type);
}

/** A key of an item in a list that has to be there. */
function required<T extends z.ZodType>(type: T, description: string): z.ZodNonOptional<T> {
  const made = z.nonoptional(type);
  abouts.add(made, { description });
  return made;
}

/** Keys below a key. */
function section<const Shape extends z.ZodRawShape>(shape: Shape) {
  // No key is required, which the type of a shape unknown here cannot say.
  return z.prefault(z.object(shape), {} as never);
}

const tagRules = t.listOf(
  z.object({
    match: required(t.tagGlob, "Pattern over repository:tag"),
    ttl: required(t.age, "As tags.ttl, for the tags that match"),
  }),
  100,
  "rules",
);

const accessRules = t.listOf(
  z.object({
    users: setting(
      t.listOf(t.caller),
      "Names of users it is for, as they are; everybody with a name unless these or groups are set",
    ),
    groups: setting(t.listOf(t.caller), "Names of groups it is for, as they are"),
    anonymous: setting(t.yesOrNo, "Whether it is for clients without a name as well", { default: "false" }),
    networks: setting(
      t.listOf(t.network),
      "Addresses and networks it is for, such as 10.0.0.0/8; all unless set",
    ),
    upstreams: setting(t.listOf(t.upstreamName), "Names of upstreams it is for; all unless set"),
    repositories: setting(
      t.listOf(t.repositoryPattern),
      "Patterns over repositories by their names in the upstream, such as team/**; all unless set",
    ),
    tags: setting(t.listOf(t.tagPattern), "Patterns over tags, such as v*; all unless set"),
    verbs: setting(
      t.listOf(t.oneOf(verbs)),
      "What it allows: pull, push, delete, list; pull and list unless set",
    ),
  }),
  1_000,
  "rules",
);

const limitRules = t.listOf(
  z.object({
    users: setting(
      t.listOf(t.caller),
      "Names of users it is for, as they are; everybody, with a name or without, unless these or groups are set",
    ),
    groups: setting(t.listOf(t.caller), "Names of groups it is for, as they are"),
    anonymous: setting(
      t.yesOrNo,
      "Whether it is for clients without a name as well, beside users or groups",
      {
        default: "false",
      },
    ),
    networks: setting(t.listOf(t.network), "Addresses and networks it is for; all unless set"),
    requestsPerSecond: setting(
      t.wholeNumber(1, 1_000_000),
      "Requests a second; as many may come at once, what is over waits for up to 10 s, and more are 429",
    ),
    bytesPerSecond: setting(
      t.size(1024),
      "Bytes of answers a second, such as 10MB; those of a second, 64 KiB at least, may go out at once",
    ),
    coldFills: setting(
      t.wholeNumber(1, 10_000),
      "Blobs not held here that are fetched at once, from one registry, instead of limits.coldFills",
    ),
    shared: setting(t.yesOrNo, "Whether all it is for have these together; otherwise each has them", {
      default: "false",
    }),
  }),
  100,
  "rules",
);

const schedules = t.listOf(
  z.object({
    images: required(
      t.listOf(t.warmImage).min(1, "at least one image"),
      "References as clients pull them, such as team/app:1.0, or with a pattern over the tags of a repository, team/app:1.*, whose last 100 are fetched",
    ),
    at: required(t.cron, "When, by cron, in the machine's time zone: 0 5 * * 1-5"),
    platforms: setting(
      t.listOf(t.platform, 20),
      "Platforms whose images of an index are fetched, such as linux/amd64; all unless set",
    ),
    bandwidth: setting(t.size(65_536), "Bytes a second at most, such as 50MB; no bound unless set"),
  }),
  50,
  "schedules",
);

const ldap = section({
  urls: setting(
    t.ldapUrls,
    "Servers of the directory, ldaps://host or ldap://host; each has all of it, and is asked when the one before fails",
  ),
  startTls: setting(t.yesOrNo, "Whether ldap:// goes on over TLS, and not at all where it cannot", {
    default: "false",
  }),
  caFile: setting(t.file, "PEM file of the authorities to trust instead of those of the system"),
  bindDn: setting(t.dn, "Entry as which is searched; nobody unless set, and the user for its groups"),
  bindPassword: setting(t.password, "Its password"),
  bindPasswordFile: setting(
    t.fileWith(t.password),
    "File that holds it, instead of the password itself; read again whenever it changes",
  ),
  userDn: setting(
    t.userDn,
    "Entry of a user, such as uid={user},ou=people,dc=example,dc=com; instead of a search",
  ),
  userBase: setting(t.dn, "Entry below which users are searched"),
  userFilter: setting(
    t.userFilter,
    "Filter that finds one user by the name that was typed, such as (&(objectClass=person)(uid={user}))",
    { default: "(uid={user})" },
  ),
  userAttribute: setting(
    t.attribute,
    "Attribute with the name by which rules and the log know the user who was found; sAMAccountName in Active Directory",
    { default: "uid" },
  ),
  groupBase: setting(t.dn, "Entry below which groups are; nobody is in one unless set"),
  groupFilter: setting(
    t.groupFilter,
    "Filter that finds the groups of a user by {dn}, its entry, or {user}, its name, such as (memberUid={user})",
    { default: "(member={dn})" },
  ),
  groupAttribute: setting(t.attribute, "Attribute with the name of a group that was found", {
    default: "cn",
  }),
  memberOf: setting(
    t.attribute,
    "Attribute of users with the entries of their groups, such as memberOf: instead of a search, those below groupBase count, by the first part of their names",
  ),
  timeout: setting(t.timer(), "How long one server may take for a login, connecting included", {
    default: "5s",
  }),
});

const workloads = t.listOf(
  z.object({
    name: setting(
      t.workloadName,
      "What the names and groups of its workloads begin with; of each issuer another",
      {
        default: "oidc",
      },
    ),
    issuer: required(t.tokenIssuer, "Who signs the tokens, as their claim iss has it, to the letter"),
    audience: required(t.tokenAudience, "For whom the tokens have to be, in their claim aud"),
    jwksUrl: setting(
      t.keySetUrl,
      "Where its public keys are; what ISSUER/.well-known/openid-configuration says unless set",
    ),
    jwksFile: setting(t.fileWith(t.keySet), "File that holds them instead; read again whenever it changes"),
    claims: setting(
      t.claimPatterns,
      "Patterns that claims of the tokens have to match, by claim; a slash leads into one: kubernetes.io/namespace",
    ),
    groups: setting(
      t.listOf(t.claimName),
      "Claims whose values are groups for rules, each called NAME:CLAIM=VALUE",
    ),
  }),
  20,
  "issuers",
);

const actions = ["pull", "push", "mount", "delete", "tag.moved"] as const;

const endpoints = t.listOf(
  z.object({
    name: required(t.endpointName, "Name in logs and metrics"),
    url: required(t.endpointUrl, "Where events are sent by POST"),
    headers: setting(t.headersOf(t.headerValue), "Headers sent along, by name"),
    headerFiles: setting(
      t.headersOf(t.fileWith(t.headerValue)),
      "Files that hold the values of headers, by name; read again whenever they change",
    ),
    timeout: setting(t.timer(), "How long one delivery may take", { default: "1s" }),
    threshold: setting(
      t.wholeNumber(1, 100),
      "Failures in a row after which the receiver is left alone for a while",
      { default: "10" },
    ),
    backoff: setting(t.timer(), "How long it is left alone", { default: "1s" }),
    mediaType: setting(t.oneOf(["v1", "v2"]), "Version of the events' media type", { default: "v1" }),
    ignore: section({
      actions: setting(t.listOf(t.oneOf(actions)), "Actions that are not sent"),
      mediaTypes: setting(t.listOf(t.mediaType), "Media types that are not sent"),
    }),
    headRequests: setting(t.yesOrNo, "Whether HEAD of a manifest counts as a pull", { default: "false" }),
  }),
  20,
  "endpoints",
);

const teams = t.listOf(
  z.object({
    name: required(t.teamName, "Name in the ledger and in metrics"),
    repositories: setting(
      t.listOf(t.repositoryPattern),
      "Patterns over repositories by their names in the upstream, such as team/**; all unless set",
    ),
    callers: setting(
      t.listOf(t.callerPattern),
      "Patterns over the names that callers have proved, such as ci-*; everybody, with a name or without, unless set",
    ),
  }),
  50,
  "teams",
);

const upstream = section({
  name: setting(t.upstreamName, "Name of the registry in logs and metrics, and in paths as /NAME/v2/", {
    default: "upstream",
  }),
  url: setting(
    t.upstreamUrl,
    "Required: the registry to mirror, http or https, with its path but without /v2",
  ),
  repositoryPrefix: setting(
    t.repositoryPrefix,
    "Put before every repository when the registry is asked: docker-local for Artifactory's repository-path method",
  ),
  username: setting(t.username, "Account at the registry; leave it out to pull anonymously"),
  password: setting(t.upstreamPassword, "Its password or token"),
  passwordFile: setting(
    t.fileWith(t.upstreamPassword),
    "File that holds the password, instead of the password itself; read again whenever it changes",
  ),
  authorization: setting(
    t.authorization,
    "Whole Authorization header to send instead of an account, such as Bearer TOKEN",
    { env: false },
  ),
  authorizationFile: setting(
    t.fileWith(t.authorization),
    "File that holds that header's value; read again whenever it changes",
    {
      env: false,
    },
  ),
  credentialHelper: setting(
    t.credentialHelper,
    "Program that knows the account: NAME for docker-credential-NAME in the PATH, or an absolute path",
    { env: false },
  ),
  credentialHelperRegistry: setting(
    t.credentialHelperRegistry,
    "What the program is asked for; the registry's host unless set, as docker login stores it",
    { env: false, besides: "credentialHelper" },
  ),
  credentialHelperLifetime: setting(t.age, "How long its answer is used before it is asked again", {
    default: "10m",
    env: false,
    besides: "credentialHelper",
  }),
  credentialSource: setting(
    t.oneOf(["ecr", "gcp", "azure"]),
    "Cloud that gives this program its account at its own registry: ecr (where the AWS SDK looks: environment, files, roles), gcp (file of GOOGLE_APPLICATION_CREDENTIALS, else metadata server) or azure (workload identity by AZURE_FEDERATED_TOKEN_FILE, else managed identity)",
  ),
  credentialSourceIdentity: setting(
    t.credentialSourceIdentity,
    "Which of the machine's identities: a service account of gcp, the client id of an identity of azure; its own unless set",
    { env: false, besides: "credentialSource" },
  ),
  credentialSourceUrl: setting(
    t.credentialSourceUrl,
    "Where the cloud is asked, whatever the environment says of gcp and azure, such as a VPC endpoint of ECR's API; its usual address unless set",
    { env: false, besides: "credentialSource" },
  ),
  tokenRealms: setting(
    t.listOf(t.hostAndPort),
    "Hosts that may hand out tokens for the registry although they are not on its own domain, or have private addresses",
  ),
  tls: section({
    ca: setting(
      t.file,
      "PEM file of authorities to trust besides those of the system, which are read at the start",
      { env: false },
    ),
    cert: setting(t.file, "PEM file of the certificate to show to the registry", { env: false }),
    key: setting(t.file, "PEM file of its private key, not encrypted", { env: false }),
    serverName: setting(
      t.serverName,
      "Name to look for in the registry's certificate, instead of the host of the URL",
      { env: false },
    ),
  }),
  redirectsTo: setting(
    t.listOf(t.destination),
    "Hosts and networks, such as 10.0.0.0/8, of private storages where the registry may send downloads and uploads",
  ),
  proxy: setting(
    t.proxy,
    "As the common proxy, for this registry, its token servers and where it redirects to",
  ),
  // None is something else than none set.
  noProxy: setting(t.noProxy.optional(), "As the common noProxy, for this registry"),
  offline: setting(
    t.yesOrNo,
    "Whether the registry is asked for nothing at all: what is here is served, tags whatever their age, and everything else refused; as the common one unless set",
    { env: "UPSTREAM_OFFLINE" },
  ),
  connectTimeout: setting(t.timer(), "How long connecting to the registry may take, TLS included", {
    default: "5s",
  }),
  firstByteTimeout: setting(t.timer(), "How long the registry may take to begin an answer", {
    default: "30s",
  }),
  idleTimeout: setting(t.timer(), "Longest silence of the registry in the middle of an answer", {
    default: "30s",
  }),
  maxConnections: setting(t.wholeNumber(1, 10_000), "Most connections open to the registry at once", {
    default: "64",
  }),
  segments: setting(
    t.wholeNumber(1, 16),
    "Most parts of one blob fetched at once, by Range, where one transfer is slow and several are faster; 1 turns it off",
    { default: "8" },
  ),
  // None is something else than none set.
  namespaces: setting(
    t.listOf(t.hostAndPort).optional(),
    "Registries clients mean by ?ns= when they want this one; docker.io for Docker Hub unless set, or named by another upstream",
  ),
  hosts: setting(t.listOf(t.host), "Host names of this mirror under which clients get this registry", {
    env: false,
  }),
  component: setting(
    t.component,
    "First part of a repository that stands for this registry, as hub in /v2/hub/team/app/",
    { env: false },
  ),
  library: setting(
    t.library,
    "Whether app means library/app there: true for Docker Hub unless set; strip where library/app, which docker asks a registry mirror for, means app",
    { env: false },
  ),
  allow: setting(
    t.listOf(t.permission),
    "Patterns over repository or repository:tag that clients may have, such as team/**; all unless set",
    { env: false },
  ),
  deny: setting(
    t.listOf(t.permission),
    "Patterns of what they may not have, whatever allow says; a denied tag's digest too, while it is known by denied tags alone (SECURITY.md)",
    { env: false },
  ),
  next: setting(
    t.next,
    "Upstream to ask next, a name or {upstream, on}: on is a list of absent (not there), denied (401 or 403) and failure; denied and failure need an allow list there; absent unless set, and failure where it has one",
    { env: false },
  ),
  tags: section({
    ttl: setting(t.age, "As tags.ttl, for this registry", { env: false }),
    rules: setting(tagRules, "As tags.rules, for this registry; they go before the common ones", {
      env: false,
    }),
  }),
  push: setting(t.yesOrNo, "Whether clients may push to the registry through this mirror", {
    default: "false",
  }),
  pricePerGB: setting(
    t.price,
    "What 10^9 bytes from the registry cost, for entrepot savings; no money is told unless set",
    { env: "UPSTREAM_PRICE_PER_GB" },
  ),
  access: setting(
    t.oneOf(["open", "passthrough"]),
    "Who may read from this registry, where that differs from access.mode open or passthrough: everybody with open, whom the registry lets read with passthrough",
  ),
});

const upstreams = setting(
  t.listOf(upstream.unwrap(), 100, "upstreams"),
  "Several registries: instead of upstream, a list of mappings with the same keys, each with a name; the first is the default",
);

const siblings = t.listOf(
  z.object({
    name: required(t.endpointName, "Name in logs and metrics, and on the page"),
    url: required(
      t.upstreamUrl,
      "Where its clients reach it, http or https, with its path but without /v2 and without the name of an upstream",
    ),
    upstreams: setting(
      t.upstreamNames,
      "Upstreams it is asked for, by name, and what each is called there; all, by the same names, unless set",
    ),
    username: setting(t.username, "Account there; leave it out where it asks nobody"),
    password: setting(t.upstreamPassword, "Its password or token"),
    passwordFile: setting(
      t.fileWith(t.upstreamPassword),
      "File that holds the password, instead of the password itself; read again whenever it changes",
    ),
    tls: section({
      ca: setting(t.file, "PEM file of authorities to trust besides those of the system"),
      cert: setting(t.file, "PEM file of the certificate to show there"),
      key: setting(t.file, "PEM file of its private key, not encrypted"),
      serverName: setting(
        t.serverName,
        "Name to look for in its certificate, instead of the host of the URL",
      ),
    }),
    timeout: setting(
      t.timer(),
      "How long it may take to begin an answer, connecting included, before the registry is asked",
      { default: "500ms" },
    ),
    maxConnections: setting(
      t.wholeNumber(1, 1_000),
      "Most connections open to it at once, for each upstream",
      {
        default: "16",
      },
    ),
  }),
  8,
  "siblings",
);

export const schema = z.object({
  listen: setting(
    t.listenPlace,
    "Address that clients pull from; :5000 means every address of IPv6 and IPv4, port 0 any free port, unix:/run/entrepot.sock?mode=0660 a unix socket, fd://3 one that systemd passes",
    { default: "0.0.0.0:5000" },
  ),
  listenTls: section({
    certFile: setting(
      t.file,
      "PEM file of the certificate, with those between it and its authority, by which clients are answered over TLS at listen; plain HTTP unless set; read again whenever it changes",
    ),
    keyFile: setting(t.file, "PEM file of its private key, not encrypted; read again whenever it changes"),
    clientCaFile: setting(
      t.file,
      "PEM file of authorities: a client that shows a certificate has to show one of theirs; none is asked for unless set; read again whenever it changes",
    ),
    clientCertificates: setting(
      t.oneOf(["optional", "required"]),
      "Whether clients without a certificate of clientCaFile are served, or refused at the handshake, probes too",
      { default: "optional" },
    ),
  }),
  opsListen: setting(
    t.listenPlace,
    "Address of health, metrics, the status page and the API; keep it private",
    { default: "127.0.0.1:5001" },
  ),
  opsTls: section({
    certFile: setting(t.file, "As listenTls.certFile, for opsListen"),
    keyFile: setting(t.file, "As listenTls.keyFile, for opsListen"),
  }),
  opsHosts: setting(
    t.listOf(t.host),
    "Host names under which the status page and the API are reached, besides addresses, localhost and the node's own name; others get 421",
  ),
  opsAccess: section({
    username: setting(t.username, "User name that goes with the password of opsListen; any unless set"),
    password: setting(
      t.password,
      "Password that opsListen asks for, but for /livez, /readyz, /metrics and webhooks; without it or a token, one that other machines reach answers only those",
    ),
    passwordFile: setting(
      t.fileWith(t.password),
      "File that holds it, instead of the password itself; read again whenever it changes",
    ),
    token: setting(t.opsToken, "Token that does the same for programs, as Authorization: Bearer TOKEN"),
    tokenFile: setting(
      t.fileWith(t.opsToken),
      "File that holds it, instead of the token itself; read again whenever it changes",
    ),
  }),
  opsPage: section({
    mirror: setting(
      t.webAddress,
      "How clients reach the mirror, such as https://mirror.example.com, for the commands and files that the status page shows; the node's own name and port unless set",
    ),
    runbook: setting(t.webAddress, "URL of your runbook, which the status page links to"),
    grafana: setting(t.webAddress, "URL of the dashboard, which the status page links to"),
    haproxy: setting(t.webAddress, "URL of HAProxy's statistics, which the status page links to"),
  }),
  trustedProxies: setting(
    t.listOf(t.network),
    "Addresses and networks, such as 10.0.0.0/8, and unix: for those at a unix socket, of proxies whose X-Forwarded-For or Forwarded says who the client is, as the PROXY protocol does (versions 1 and 2), and X-Forwarded-Prefix below which path; nobody's unless set",
  ),
  basePath: setting(
    t.basePath,
    "Path below which a proxy before this mirror serves it, such as /registry, whether the proxy takes it away or not; a trusted proxy may say another one by X-Forwarded-Prefix",
  ),
  opsBasePath: setting(
    t.basePath,
    "The same of opsListen, such as /ops, for the addresses of the status page",
  ),
  offline: setting(
    t.yesOrNo,
    "Whether no registry is asked for anything, where none says otherwise itself: what is here is served, tags whatever their age, and everything else refused",
    { default: "false" },
  ),
  proxy: setting(
    t.proxy,
    "Proxy that connections to registries and S3 go out through, http://user:password@host:3128, https:// or socks5://, or none; what HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say unless set",
  ),
  // None is something else than none set.
  noProxy: setting(
    t.noProxy.optional(),
    "Hosts, with all names below them, addresses and networks, such as 10.0.0.0/8, that are reached without it; what NO_PROXY says unless set",
  ),
  access: section({
    mode: setting(
      t.oneOf(["open", "htpasswd", "ldap", "token", "passthrough"]),
      "Who is asked for a name: nobody with open, where the network is the boundary; everybody with htpasswd, for one of access.htpasswdFile and its password, and with ldap, for one of the directory at access.ldap.urls; with token for one of either, and clients change it for a token that lasts some minutes; with passthrough for a name and password of the registry, which decides",
      { default: "open" },
    ),
    htpasswdFile: setting(
      t.file,
      "File of users and their passwords' bcrypt hashes, as htpasswd -B writes it; read again whenever it changes; with ldap too: names in it are not asked for there",
    ),
    ldap,
    clientCertificates: setting(
      t.oneOf(["none", "cn", "dns", "uri", "email"]),
      "What of a client's certificate (listenTls.clientCaFile) is its name, cert: put before it: nothing, the common name, or its alternative name of this kind; credentials that are sent as well go before it",
      { default: "none" },
    ),
    clientCertificateGroups: setting(
      t.oneOf(["ou", "o", "none"]),
      "What of it are its groups, cert: put before each: its organizational units, its organizations, or nothing",
      { default: "ou" },
    ),
    token: section({
      keyFile: setting(
        t.fileWith(t.tokenKey),
        "PEM file of the private key (EC P-256, Ed25519, RSA) that signs the tokens given to clients; the same for all nodes behind one address; one made at the start unless set; read again whenever it changes",
      ),
      lifetime: setting(t.tokenLifetime, "How long such a token lasts, from 1m to 1h", { default: "5m" }),
      audience: setting(
        t.tokenAudience,
        "Service that clients ask tokens for, and for which a token has to be; the same for all nodes",
        { default: "entrepot" },
      ),
      realm: setting(
        t.tokenRealm,
        "URL where clients get tokens; /v2/token of this mirror, at the address at which the client reaches it, unless set",
      ),
      issuer: setting(
        t.tokenIssuer,
        "Another token server whose tokens are taken instead of this mirror's own, as their claim iss names it; with realm, audience and its keys",
      ),
      jwksUrl: setting(t.keySetUrl, "Where its public keys are (JWKS); read again every ten minutes"),
      jwksFile: setting(t.fileWith(t.keySet), "File that holds them instead; read again whenever it changes"),
    }),
    oidc: setting(
      workloads,
      "List of platforms whose workloads log in as user oidc with their token as the password, each {name, issuer, audience, jwksUrl, jwksFile, claims, groups}; see docs/access.md",
    ),
    proofLifetime: setting(
      t.proofLifetime,
      "How long it is believed that a caller may read a repository since the registry last said so, with passthrough; at most 15m",
      { default: "5m" },
    ),
    rules: setting(
      accessRules,
      "List of what is allowed, each {users, groups, anonymous, networks, upstreams, repositories, tags, verbs}, and nothing else is; without one all that have a name may pull and list everything, and with open everybody may what the upstreams allow; see docs/access.md",
    ),
  }),
  limits: section({
    openAnswers: setting(
      t.wholeNumber(1, 1_000_000),
      "Answers that one client (an address; of IPv6 a /64) may have open at once; what is over waits its turn",
      { default: "4000" },
    ),
    coldFills: setting(
      t.wholeNumber(1, 10_000),
      "Blobs not held here that are fetched for one client at once, from one registry; at most three quarters of what maxConnections lets through",
      { default: "32" },
    ),
    writes: setting(
      t.wholeNumber(1, 10_000),
      "Writes of one client passed on at once to one registry; at most three quarters of maxConnections",
      { default: "32" },
    ),
    waiting: setting(
      t.wholeNumber(0, 1_000_000),
      "Requests of one client that may wait for each of these; more are 429",
      { default: "4000" },
    ),
    exempt: setting(t.listOf(t.network), "Addresses and networks of clients without these limits"),
    rules: setting(
      limitRules,
      "List of limits for some callers, each {users, groups, anonymous, networks, requestsPerSecond, bytesPerSecond, coldFills, shared}; the first that is for a caller counts; see docs/access.md",
    ),
  }),
  workers: setting(
    t.workers,
    "Processes that answer clients: a number, or auto for as many as there are cores, at most 8 and as memory allows; with 1 there are none besides this one",
    { default: "1" },
  ),
  teams: setting(
    teams,
    "List of teams for which entrepot savings counts, each {name, repositories, callers}; a request counts for the first that takes it, and for other where none does",
  ),
  currency: setting(t.currency, "What pricePerGB is in, such as EUR"),
  catalog: setting(t.yesOrNo, "Whether /v2/_catalog lists the repositories held here", { default: "true" }),
  manifestsWithoutLayers: setting(
    t.oneOf(["serve", "refuse"]),
    "A manifest held here some of whose layers are not, while the registry is away: serve it, or refuse it with 502 so that clients try elsewhere",
    { default: "serve" },
  ),
  proofs: setting(
    t.oneOf(["own", "shared"]),
    "Whether a manifest gives the right to a blob whose bytes came from another upstream: own asks its upstream once, shared trusts all upstreams alike",
    { default: "own" },
  ),
  cacheStatus: setting(
    t.yesOrNo,
    "Whether answers carry Cache-Status (RFC 9211), which tells clients what is held here",
    { default: "true" },
  ),
  drainTimeout: setting(
    t.timer(0),
    "How long transfers under way may take after SIGTERM before they are cut",
    { default: "10m" },
  ),
  drainDelay: setting(
    t.timer(0),
    "How long after SIGTERM new requests are still answered while /readyz says 404; part of drainTimeout",
    { default: "7s" },
  ),
  node: section({
    name: setting(
      t.nodeName,
      "Name of this node among those of its datacenter; the machine's host name unless set",
    ),
    address: setting(
      t.nodeAddress,
      "Where the other nodes reach this one, such as http://10.0.0.7:5000; without it they do not read from it",
    ),
    secret: setting(
      t.nodeSecret,
      "Secret that all nodes of the datacenter have, with which they sign what they ask each other; without one whoever says so is taken for a node",
    ),
    secretFile: setting(
      t.fileWith(t.nodeSecret),
      "File that holds it, instead of the secret itself; read again whenever it changes",
    ),
  }),
  nodes: setting(
    t.nodeAddresses,
    "Addresses of the nodes of the datacenter (node.address of each; this one's may be among them), which then know each other without Redis: the page, the API, why and the catalog of any answer for all; needs node.address and node.secret",
  ),
  siblings: setting(
    siblings,
    "List of mirrors of other datacenters, each {name, url, upstreams, username, password, passwordFile, tls, timeout, maxConnections}, which are asked for what they hold of a digest before the far registry is; see docs/siblings.md",
  ),
  log: section({
    level: setting(
      t.oneOf(["trace", "debug", "info", "warn", "error", "silent"]),
      "Least severe message that is logged: trace, debug, info, warn, error or silent",
      { default: "info" },
    ),
    format: setting(
      t.oneOf(["auto", "json", "text", "combined"]),
      "What lines look like: json; text for people; auto, text on a terminal and else json; or combined, a request's line as web servers write it, which sends all other lines to the standard error as json",
      { default: "auto" },
    ),
  }),
  influx: section({
    dir: setting(
      t.path,
      "Directory for entrepot.influx, a file with points of InfluxDB's line protocol for every request and every image fetched ahead; none unless set",
    ),
    maxFileSize: setting(
      t.size(1_000_000),
      "Size at which that file is set aside as entrepot.influx.1 and a new one begun",
      { default: "64MB" },
    ),
    keep: setting(t.wholeNumber(0, 100), "How many files set aside are kept", { default: "4" }),
  }),
  otel: section({
    endpoint: setting(
      t.otelEndpoint,
      "Where traces and metrics go by OTLP, such as http://collector.example.com:4318, to which /v1/traces and /v1/metrics are added; environment leaves it to OTEL_EXPORTER_OTLP_ENDPOINT; nothing is sent unless set",
    ),
    protocol: setting(t.oneOf(["http/protobuf", "http/json"]), "How it is written", {
      default: "http/protobuf",
    }),
    headers: setting(t.headersOf(t.headerValue), "Headers sent along, by name", { env: false }),
    headerFiles: setting(
      t.headersOf(t.fileWith(t.headerValue)),
      "Files that hold the values of headers, by name; read again whenever they change, by workers at the next start",
      { env: false },
    ),
    timeout: setting(
      t.timer(),
      "How long one export may take, with its further attempts; what OTEL_EXPORTER_OTLP_TIMEOUT says, or 10s, unless set",
    ),
    traces: setting(t.yesOrNo, "Whether spans of requests are sent", { default: "true" }),
    sampleRatio: setting(
      t.percent(0, 100),
      "Share of the requests that are traced; of those whose client says in traceparent whether it traces them, its word counts",
      { default: "100%" },
    ),
    queue: setting(
      t.wholeNumber(1, 100_000),
      "Spans that wait to be sent, in each process of the node; what is beyond it is dropped and counted",
      { default: "2048" },
    ),
    delay: setting(t.timer(), "How long spans are collected before they are sent", { default: "5s" }),
    metrics: setting(t.yesOrNo, "Whether the metrics of /metrics are sent", { default: "true" }),
    interval: setting(t.otelInterval, "How often they are, from 1s on", { default: "1m" }),
  }),
  serverTiming: setting(
    t.yesOrNo,
    "Whether answers carry Server-Timing: how they came about and how long upstream took",
    { default: "false" },
  ),
  via: setting(t.yesOrNo, "Whether answers carry Via, which names the node they came through", {
    default: "false",
  }),
  upstream,
  upstreams,
  cache: section({
    dir: setting(t.path, "Directory of the cache; made when missing", { default: "./data" }),
    maxSize: setting(t.size(1_000_000), "Bytes of images kept at most: 50GB is decimal, 50GiB binary", {
      default: "50GB",
    }),
    evictTo: setting(
      t.percent(1, 100),
      "How far a full cache is emptied, as a share of cache.maxSize without what is pinned",
      {
        default: "90%",
      },
    ),
    smallBlob: setting(
      t.size(1),
      "Size below which a blob is a small one: those have 3 % of cache.maxSize (up to 5 % when it is below 17GB) and manifests 3 %, least recently pulled first; of the others the least often pulled goes first",
      { default: "1MB" },
    ),
    scrub: setting(
      t.interval,
      "How often everything stored is hashed again to find what the disk has changed, from 1s on; 0 never does",
      { default: "7d" },
    ),
    keepFree: setting(
      t.percent(0, 90),
      "Share of the file system that stays free, whatever cache.maxSize says",
      { default: "5%" },
    ),
    rangesBeforeVerified: setting(
      t.yesOrNo,
      "Whether a range of a blob on its way is answered at once, marked as unverified, as lazy pulling needs; otherwise it waits until all of the blob is here",
      { default: "true" },
    ),
    prefetch: setting(
      t.sizeOrNone,
      "Bytes of an image's next layers that are fetched while a client pulls it, before the client asks for them; 0 fetches none ahead",
      { default: "16MB" },
    ),
  }),
  s3: section({
    bucket: setting(
      t.bucket,
      "Bucket in which the nodes of a datacenter share what they fetched; without one nothing is shared",
    ),
    endpoint: setting(
      t.s3Endpoint,
      "Address of an S3-compatible server; that of AWS for the region unless set",
    ),
    region: setting(t.region, "Region that requests are signed for", { default: "us-east-1" }),
    prefix: setting(
      t.s3Prefix,
      "What the keys of objects begin with, such as mirror/eu; everything below it is the mirror's",
    ),
    pathStyle: setting(
      t.yesOrNo,
      "Whether the bucket is named in the path of URLs instead of in their host; true when there is an endpoint, unless set",
    ),
    accessKeyId: setting(
      t.accessKeyId,
      "Account at the store; without one the AWS SDK looks where it always does: environment, files, instance role",
    ),
    accessKeyIdFile: setting(
      t.fileWith(t.accessKeyId),
      "File that holds it instead; read again whenever it changes",
    ),
    secretAccessKey: setting(t.secretAccessKey, "The account's secret"),
    secretAccessKeyFile: setting(
      t.fileWith(t.secretAccessKey),
      "File that holds the secret, instead of the secret itself; read again whenever it changes",
    ),
    sse: setting(
      t.encryption,
      "Encryption to ask for with every object, AES256 or aws:kms; what the bucket does by itself unless set",
    ),
    sseKeyId: setting(t.keyId, "Key for aws:kms; the account's own unless set"),
    maxSize: setting(
      t.size(1_000_000),
      "Bytes of images kept in the bucket at most, least recently used deleted first, small ones above their share (cache.smallBlob) before others; left to a rule of the bucket unless set",
    ),
    redirectAbove: setting(
      t.size(1),
      "Size from which on clients are sent to the bucket itself, with a signed URL; never unless set, for it has to be in their reach",
    ),
  }),
  tags: section({
    ttl: setting(
      t.age,
      "How long a tag is served before the registry is asked again; 0s asks every time, forever never",
      { default: "60s", env: "TAG_TTL" },
    ),
    staleIfError: setting(
      t.age,
      "How old a tag may be and still be served while the registry is unreachable; 0s never, or forever",
      { default: "7d", env: "STALE_IF_ERROR" },
    ),
    refreshAhead: setting(
      t.percent(0, 100),
      "Share of the requests a registry allows, where it says how many, that may confirm tags before they expire: those asked for at least once in each of three times tags.ttl, so that nobody waits; 0% confirms none ahead",
      { default: "50%", env: "REFRESH_AHEAD" },
    ),
    staleWhileRevalidate: setting(
      t.staleTime,
      "How long after tags.ttl a tag is still served at once while the registry is asked behind it; less than tags.staleIfError",
      { default: "0s", env: "STALE_WHILE_REVALIDATE" },
    ),
    rules: setting(
      tagRules,
      "List of {match, ttl} for tags with a ttl of their own: a pattern over repository:tag, the first match wins",
      { env: "TAG_RULES" },
    ),
  }),
  redis: section({
    url: setting(
      t.redisUrl,
      "Redis that the nodes of a datacenter share, redis://host:6379 or rediss:// for TLS; none unless set",
    ),
    sentinels: setting(t.servers, "Instead of url: host:port of the Sentinels that know where it is"),
    master: setting(t.master, "What the Sentinels call it"),
    sentinelPassword: setting(t.password, "Password of the Sentinels themselves"),
    sentinelPasswordFile: setting(
      t.fileWith(t.password),
      "File that holds it, instead; read again whenever it changes",
    ),
    cluster: setting(t.servers, "Instead of url: host:port of some nodes of a Redis Cluster"),
    username: setting(t.redisUser, "User of Redis (ACL); the default user unless set"),
    password: setting(t.password, "Its password"),
    passwordFile: setting(
      t.fileWith(t.password),
      "File that holds the password, instead of the password itself; read again whenever it changes",
    ),
    db: setting(t.wholeNumber(0, 65_535), "Number of the database; a Cluster has only 0", { default: "0" }),
    prefix: setting(
      t.redisPrefix,
      "What every key and channel begins with; mirrors with the same one share",
      { default: "entrepot:" },
    ),
    tls: section({
      enabled: setting(
        t.yesOrNo,
        "Whether to use TLS; true with rediss:// or when anything else of redis.tls is set",
        { env: "REDIS_TLS" },
      ),
      ca: setting(t.file, "PEM file of the authorities to trust instead of those of the system", {
        env: false,
      }),
      cert: setting(t.file, "PEM file of the certificate to show to Redis", { env: false }),
      key: setting(t.file, "PEM file of its private key, not encrypted", { env: false }),
      serverName: setting(t.serverName, "Name to look for in the certificate of Redis, instead of its host", {
        env: false,
      }),
    }),
  }),
  notifications: section({
    endpoints: setting(
      endpoints,
      "List of receivers of pull and push events in CNCF Distribution's format, each with name and url; see Notifications",
    ),
  }),
  webhooks: section({
    secret: setting(
      t.webhookSecret,
      "Secret that senders of webhooks show; without one, webhooks are not taken",
    ),
    secretFile: setting(
      t.fileWith(t.webhookSecret),
      "File that holds it, instead of the secret itself; read again whenever it changes",
    ),
    secretFiles: setting(
      t.webhookSecretFiles,
      "Files with the secrets of single sources, by source: distribution, artifactory, harbor, dockerhub, quay, generic",
      { env: false },
    ),
    prefetch: setting(
      t.yesOrNo,
      "Whether the manifest of a pushed tag that has been pulled through here is fetched at once",
      { default: "false" },
    ),
  }),
  pin: section({
    images: setting(
      t.listOf(t.pinPattern, 200, "patterns"),
      "Patterns over upstream/repository:tag whose images are never evicted, such as hub/team/**:v*: of the tags that were pulled through here, and what is named without a pattern, which is fetched; see docs/operations.md",
    ),
    budget: setting(
      t.pinBudget,
      "What pinned images may have, those of entrepot pin as well, as a size or a share of cache.maxSize, 90% at most; what is beyond it is not pinned",
      { default: "50%" },
    ),
    refresh: setting(
      t.pinRefresh,
      "How often pinned tags are confirmed, and what they name is fetched, from a minute to 30 days",
      { default: "1h" },
    ),
  }),
  block: section({
    file: setting(
      t.file,
      "File of digests that this node gives to nobody, of manifests, configs or layers, one a line with the reason behind it, beside those of entrepot block; read again whenever it changes; see docs/operations.md",
    ),
  }),
  warm: setting(
    schedules,
    "List of schedules by which images are fetched onto this node's disk before clients ask for them, each {images, at, platforms, bandwidth}; see docs/operations.md",
  ),
});
