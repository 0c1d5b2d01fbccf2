// Who may do what, in a table: for each mode, endpoint, method and caller the exact status.
import t, { type Test } from "tap";
import type { AccessConfig } from "../../src/config/config.ts";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { peerHeader } from "../../src/ports/shared.ts";
import { directoryAccess, login, namedAccess, rule } from "../fixtures/access.ts";
import { makeContent, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { type Answer, type Mirror, startMirror } from "../fixtures/mirror.ts";
import { passthroughAccess } from "../fixtures/passthrough.ts";
import { startBoth } from "../fixtures/push-through.ts";
import { startUpstream, type Users } from "../fixtures/scripted-upstream.ts";

const noReferrers = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] });
const image = makeImage({ layers: [5_000], seed: "access" });
const layer = image.layers[0]?.digest ?? "";

/** What callers send. */
const callers = {
  nobody: {},
  wrong: login("alice", "guess"),
  unknown: login("mallory", "alice-pw"),
  odd: { authorization: "Bearer alice" },
  alice: login("alice", "alice-pw"),
  bob: login("bob", "bob-pw"),
  ci: login("ci", "ci-pw"),
  vee: login("vee", "vee-pw"),
} as const;
type Who = keyof typeof callers;

const passwords = { alice: "alice-pw", bob: "bob-pw", ci: "ci-pw", vee: "vee-pw" };
/** Alice reads team, bob everything of other, ci writes to team, vee reads what begins with v. */
const rules = [
  rule({ users: ["alice", "ci"], repositories: ["team/**"] }),
  rule({ users: ["ci"], repositories: ["team/**"], verbs: ["push"] }),
  rule({ users: ["bob"], repositories: ["other/**"], verbs: ["pull", "push", "delete", "list"] }),
  rule({
    users: ["vee"],
    repositories: ["team/app"],
    tags: ["v*"],
    verbs: ["pull", "push", "delete", "list"],
  }),
];

/** The same, as an upstream has it that says itself what its users may read. */
const users: Users = {
  alice: { password: "alice-pw", reads: ["team/app"] },
  ci: { password: "ci-pw", reads: ["team/app"] },
  bob: { password: "bob-pw", reads: ["other/app"] },
  vee: { password: "vee-pw", reads: ["team/app"] },
};

const modes = {
  open: undefined,
  "htpasswd without rules": namedAccess(passwords),
  "htpasswd with rules": namedAccess(passwords, rules),
  "open with rules": {
    htpasswd: undefined,
    rules: [rule({ anonymous: true, networks: ["127.0.0.0/8"], repositories: ["team/**"] })],
  },
  "open to another network": {
    htpasswd: undefined,
    rules: [rule({ anonymous: true, networks: ["10.0.0.0/8"] })],
  },
  passthrough: passthroughAccess,
} as const satisfies Record<string, AccessConfig | undefined>;
type Mode = keyof typeof modes;

interface Case {
  readonly name: string;
  /** Its column in the tables. */
  readonly column: number;
  accessOf(t: Test): Promise<AccessConfig | undefined> | AccessConfig | undefined;
}

/** Whoever is in a group has what the table says of its members by name. */
const byGroup = rules.map((each) => {
  const [user, ...more] = each.users;
  return more.length === 0 ? each : { ...each, users: [], groups: [`${user} and others`] };
});
const cases: readonly Case[] = [
  ...(Object.keys(modes) as Mode[]).map((mode, column) => ({
    name: mode,
    column,
    accessOf: () => modes[mode],
  })),
  {
    name: "ldap without rules",
    column: 1,
    accessOf: async (t) => (await directoryAccess(t, passwords)).access,
  },
  {
    name: "ldap with rules",
    column: 2,
    accessOf: async (t) => {
      const groups = { "alice and others": ["alice", "ci"] };
      return (await directoryAccess(t, passwords, groups, byGroup)).access;
    },
  },
];

/** Statuses of nobody, wrong, unknown, odd, alice, bob, ci, vee. */
type Statuses = readonly [number, number, number, number, number, number, number, number];

const none: Statuses = [401, 401, 401, 401, 401, 401, 401, 401];
const named = (status: number): Statuses => [401, 401, 401, 401, status, status, status, status];
const each = (alice: number, bob: number, ci: number, vee: number): Statuses => [
  401,
  401,
  401,
  401,
  alice,
  bob,
  ci,
  vee,
];
const all = (status: number): Statuses => [status, status, status, status, status, status, status, status];

/** Upstream is asked about nobody's credentials for what no mirror that only reads does. */
const readOnly: Statuses = [401, 405, 405, 401, 405, 405, 405, 405];

/** In the order of `modes`. */
type Row = readonly [request: string, Statuses, Statuses, Statuses, Statuses, Statuses, Statuses];

const team = "/v2/team/app";
const reads: readonly Row[] = [
  ["GET /livez", all(200), all(200), all(200), all(200), all(200), all(200)],
  ["GET /readyz", all(200), all(200), all(200), all(200), all(200), all(200)],
  ["GET /v2/", all(200), named(200), named(200), all(200), all(200), named(200)],
  ["HEAD /v2/", all(200), named(200), named(200), all(200), all(200), named(200)],
  ["GET /", all(404), named(404), named(404), all(404), all(404), all(404)],
  ["GET /v2/UPPER/manifests/1", all(400), named(400), named(400), all(400), all(400), all(400)],
  ["CONNECT", all(405), all(405), all(405), all(405), all(405), all(405)],
  [
    `GET ${team}/manifests/v1`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `HEAD ${team}/manifests/v1`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET ${team}/manifests/2`,
    all(200),
    named(200),
    each(200, 403, 200, 403),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `HEAD ${team}/manifests/2`,
    all(200),
    named(200),
    each(200, 403, 200, 403),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET ${team}/manifests/absent`,
    all(404),
    named(404),
    each(404, 403, 404, 403),
    all(404),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `GET ${team}/manifests/${image.digest}`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET ${team}/manifests/v1?ns=docker.io`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET ${team}/blobs/${layer}`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `HEAD ${team}/blobs/${layer}`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `RANGE ${team}/blobs/${layer}`,
    all(206),
    named(206),
    each(206, 403, 206, 206),
    all(206),
    all(403),
    each(206, 403, 206, 206),
  ],
  [
    `PEER ${team}/blobs/${layer}`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET ${team}/tags/list`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET ${team}/referrers/${image.digest}`,
    all(200),
    named(200),
    each(200, 403, 200, 200),
    all(200),
    all(403),
    each(200, 403, 200, 200),
  ],
  [
    `GET /v2/other/app/blobs/${layer}`,
    all(200),
    named(200),
    each(403, 200, 403, 403),
    all(403),
    all(403),
    each(403, 200, 403, 403),
  ],
  [
    `GET /v2/other/app/manifests/1`,
    all(200),
    named(200),
    each(403, 200, 403, 403),
    all(403),
    all(403),
    each(403, 200, 403, 403),
  ],
  // No glob goes beyond a slash or the end of a name: the right to one robot's images is not that to another's.
  [
    `GET /v2/team-b/app/manifests/1`,
    all(200),
    named(200),
    each(403, 403, 403, 403),
    all(403),
    all(403),
    each(403, 403, 403, 403),
  ],
  ["GET /v2/_catalog", all(200), named(200), each(200, 200, 200, 200), all(200), all(403), named(200)],
  [`PUT ${team}/manifests/3`, all(405), named(405), named(405), all(405), all(405), readOnly],
  [`DELETE ${team}/manifests/v1`, all(405), named(405), named(405), all(405), all(405), readOnly],
  [`POST ${team}/blobs/uploads/`, all(405), named(405), named(405), all(405), all(405), readOnly],
  [`OPTIONS ${team}/manifests/v1`, all(405), named(405), named(405), all(405), all(405), readOnly],
];

function send(mirror: Mirror, request: string, who: Who): Promise<Answer> {
  const [method = "", path = ""] = request.split(" ");
  const headers = { ...callers[who] };
  if (method === "RANGE") return mirror.get(path, { ...headers, range: "bytes=5-9" });
  if (method === "PEER") return mirror.get(path, { ...headers, [peerHeader]: "another-node" });
  const body = method === "PUT" && path.includes("/manifests/") ? image.manifest : undefined;
  const type = body === undefined ? {} : { "content-type": image.mediaType };
  return mirror.ask(method, path, { ...headers, ...type }, body);
}

/** The status line of an answer to CONNECT, which node:http gives to nobody. */
async function connectStatus(mirror: Mirror, who: Who): Promise<number> {
  const [header] = Object.entries(callers[who]);
  const line = header === undefined ? "" : `${header[0]}: ${header[1]}\r\n`;
  const text = await mirror.raw(`CONNECT far:443 HTTP/1.1\r\nhost: far:443\r\n${line}\r\n`);
  return Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
}

async function checkRow(t: Test, mirror: Mirror, request: string, statuses: Statuses): Promise<void> {
  for (const [at, who] of (Object.keys(callers) as Who[]).entries()) {
    const says = `${request} by ${who}`;
    if (request === "CONNECT") {
      t.equal(await connectStatus(mirror, who), statuses[at], says);
      continue;
    }
    const answer = await send(mirror, request, who);
    t.equal(answer.status, statuses[at], says);
    if (answer.status !== 401) t.notOk(answer.headers["www-authenticate"], `${says}: no challenge`);
    else {
      t.equal(answer.headers["www-authenticate"], 'Basic realm="entrepot"', says);
      if (!request.startsWith("HEAD"))
        t.match(JSON.parse(answer.body.toString()), { errors: [{ code: "UNAUTHORIZED" }] }, says);
    }
    if (answer.status === 401 || answer.status === 403)
      t.notOk(answer.headers["cache-status"], `${says}: nothing of what is held`);
  }
}

for (const { name, column, accessOf } of cases) {
  t.test(`reads, ${name}`, async (t) => {
    const passes = name === "passthrough";
    const upstream = await startUpstream(t, passes ? { users } : {});
    for (const repository of ["team/app", "other/app", "team-b/app"])
      for (const tag of ["1", "v1", "2"]) upstream.addImage(repository, tag, image);
    const mayAsk = (authorization: string | undefined): boolean =>
      !passes || [callers.alice, callers.ci, callers.vee].some((who) => who.authorization === authorization);
    upstream.fault(({ kind, headers }) =>
      kind === "referrers" && mayAsk(headers.authorization)
        ? { status: 200, headers: { "content-type": mediaTypes.ociIndex }, body: noReferrers }
        : undefined,
    );
    const time = { now: 0 };
    const access = await accessOf(t);
    const mirror = await startMirror(t, upstream, {
      access,
      upstream: passes ? { access: "passthrough", auth: { kind: "none" } } : {},
      steady: () => time.now,
    });
    for (const [request, ...statuses] of reads) {
      // Wrong passwords are forgotten.
      time.now += 10_000;
      await checkRow(t, mirror, request, statuses[column] ?? none);
    }
    const secrets = mirror.lines.filter((line) => /alice-pw|guess|YWxpY2U6/.test(JSON.stringify(line)));
    t.same(secrets, [], "no credentials in the log");
    if (passes) return;
    const sent = new Set(upstream.requests.map(({ headers }) => headers.authorization));
    for (const who of Object.values(callers))
      if ("authorization" in who) t.notOk(sent.has(who.authorization), "a client's credentials stay here");
  });
}

const blob = makeContent(randomBytesFor("access/blob", 3_000));
const foreign = makeContent(randomBytesFor("access/foreign", 3_000));

/** A mount answers 201, and 202 where it becomes an upload. */
const writes: readonly Row[] = [
  [
    `POST ${team}/blobs/uploads/?digest=${blob.digest}`,
    all(201),
    named(403),
    each(403, 403, 201, 201),
    all(403),
    all(403),
    each(201, 403, 201, 201),
  ],
  [
    `POST ${team}/blobs/uploads/`,
    all(202),
    named(403),
    each(403, 403, 202, 202),
    all(403),
    all(403),
    each(202, 403, 202, 202),
  ],
  [
    `POST ${team}/blobs/uploads/?mount=${foreign.digest}&from=other/app`,
    all(201),
    named(403),
    each(403, 403, 202, 202),
    all(403),
    all(403),
    each(403, 403, 403, 403),
  ],
  [
    `POST /v2/other/app/blobs/uploads/?mount=${layer}&from=team/app`,
    all(201),
    named(403),
    each(403, 202, 403, 403),
    all(403),
    all(403),
    each(403, 403, 403, 403),
  ],
  [
    `GET ${team}/blobs/uploads/none`,
    all(404),
    named(403),
    each(403, 403, 404, 404),
    all(403),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `DELETE ${team}/blobs/uploads/none`,
    all(404),
    named(403),
    each(403, 403, 404, 404),
    all(403),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `PUT ${team}/manifests/v3`,
    all(201),
    named(403),
    each(403, 403, 201, 201),
    all(403),
    all(403),
    each(201, 403, 201, 201),
  ],
  [
    `PUT ${team}/manifests/3`,
    all(201),
    named(403),
    each(403, 403, 201, 403),
    all(403),
    all(403),
    each(201, 403, 201, 201),
  ],
  [
    `PUT ${team}/manifests/${image.digest}`,
    all(201),
    named(403),
    each(403, 403, 201, 201),
    all(403),
    all(403),
    each(201, 403, 201, 201),
  ],
  [
    `PUT ${team}/manifests/${image.digest}?tag=v4&tag=v5`,
    all(201),
    named(403),
    each(403, 403, 201, 201),
    all(403),
    all(403),
    each(201, 403, 201, 201),
  ],
  [
    `PUT ${team}/manifests/${image.digest}?tag=v4&tag=5`,
    all(201),
    named(403),
    each(403, 403, 201, 403),
    all(403),
    all(403),
    each(201, 403, 201, 201),
  ],
  [
    `OPTIONS ${team}/manifests/v3`,
    all(405),
    named(403),
    each(403, 403, 405, 405),
    all(403),
    all(403),
    named(405),
  ],
  // The right to push is none to delete; and a digest has more tags than those that begin with v.
  [
    `DELETE ${team}/manifests/gone`,
    all(404),
    named(403),
    each(403, 403, 403, 403),
    all(403),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `DELETE ${team}/manifests/vgone`,
    all(404),
    named(403),
    each(403, 403, 403, 404),
    all(403),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `DELETE ${team}/manifests/sha256:${"0".repeat(64)}`,
    all(404),
    named(403),
    each(403, 403, 403, 403),
    all(403),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `DELETE ${team}/blobs/sha256:${"0".repeat(64)}`,
    all(404),
    named(403),
    each(403, 403, 403, 403),
    all(403),
    all(403),
    each(404, 403, 404, 404),
  ],
  [
    `DELETE /v2/other/app/blobs/sha256:${"0".repeat(64)}`,
    all(404),
    named(403),
    each(403, 404, 403, 403),
    all(403),
    all(403),
    each(403, 404, 403, 403),
  ],
];

for (const { name, column, accessOf } of cases) {
  t.test(`writes, ${name}`, async (t) => {
    const time = { now: 0 };
    const passes = name === "passthrough";
    const { upstream, mirror } = await startBoth(t, {
      access: await accessOf(t),
      ...(passes ? { users, upstream: { access: "passthrough", auth: { kind: "none" } } } : {}),
      steady: () => time.now,
    });
    for (const repository of ["team/app", "other/app"]) {
      const content = upstream.content(repository);
      for (const { digest, bytes } of [image.config, ...image.layers]) content.blobs.set(digest, bytes);
    }
    for (const [request, ...statuses] of writes) {
      time.now += 10_000;
      for (const [index, who] of (Object.keys(callers) as Who[]).entries()) {
        upstream.content("other/app").blobs.set(foreign.digest, foreign.bytes);
        upstream.content("team/app").blobs.delete(foreign.digest);
        const [method = "", path = ""] = request.split(" ");
        const monolithic = path.endsWith(`?digest=${blob.digest}`);
        const answer = monolithic
          ? await mirror.ask(method, path, { ...callers[who] }, blob.bytes)
          : await send(mirror, request, who);
        t.equal(answer.status, statuses[column]?.[index], `${request} by ${who}`);
      }
    }
    if (passes) return;
    const sent = new Set(upstream.requests.map(({ headers }) => headers.authorization));
    for (const who of Object.values(callers))
      if ("authorization" in who) t.notOk(sent.has(who.authorization), "a client's credentials stay here");
  });
}
