// Who may do what where tokens are given, in a table: for each request and caller the exact status.
import t, { type Test } from "tap";
import { bearer, login, namedAccess, ownTokens, rule } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { startBoth } from "../fixtures/push-through.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [5_000], seed: "access by token" });
const layer = image.layers[0]?.digest ?? "";
const users = { alice: "alice-pw", bob: "bob-pw" };
/** Everybody may pull public, alice reads and writes team, and of shared everybody what begins with v. */
const rules = [
  rule({ anonymous: true, repositories: ["public/**"] }),
  rule({ anonymous: true, repositories: ["shared/**"], tags: ["v*"] }),
  rule({
    users: ["alice"],
    repositories: ["team/**", "shared/**"],
    verbs: ["pull", "list", "push", "delete"],
  }),
];

/** Who sends what: nothing, a wrong login, no token of ours; then tokens for all scopes of the row, and for none. */
const callers = [
  "nobody",
  "wrong",
  "odd",
  "anonymous",
  "alice",
  "alice's token",
  "alice's free",
  "bob's",
] as const;
type Statuses = readonly [number, number, number, number, number, number, number, number];
type Row = readonly [request: string, scopes: string, Statuses];

const as = (anonymous: number, alice: number, bob: number): Statuses => [
  401,
  401,
  401,
  anonymous,
  alice,
  alice,
  alice,
  bob,
];
const reads: readonly Row[] = [
  ["GET /v2/", "", as(200, 200, 200)],
  ["HEAD /v2/", "", as(200, 200, 200)],
  ["GET /livez", "", [200, 200, 200, 200, 200, 200, 200, 200]],
  ["GET /v2/UPPER/manifests/1", "", as(400, 400, 400)],
  ["GET /nothing", "", as(404, 404, 404)],
  ["GET /v2/public/app/manifests/1", "repository:public/app:pull", as(200, 200, 200)],
  ["HEAD /v2/public/app/manifests/1", "repository:public/app:pull", as(200, 200, 200)],
  [`GET /v2/public/app/blobs/${layer}`, "repository:public/app:pull", as(200, 200, 200)],
  ["GET /v2/public/app/tags/list", "repository:public/app:pull", as(200, 200, 200)],
  ["GET /v2/team/app/manifests/1", "repository:team/app:pull", as(401, 200, 403)],
  [`GET /v2/team/app/blobs/${layer}`, "repository:team/app:pull", as(401, 200, 403)],
  [`GET /v2/team/app/referrers/${image.digest}`, "repository:team/app:pull", as(401, 404, 403)],
  ["GET /v2/team/app/tags/list", "repository:team/app:pull", as(401, 200, 403)],
  ["GET /v2/shared/app/manifests/v1", "repository:shared/app:pull", as(200, 200, 200)],
  ["GET /v2/shared/app/manifests/2", "repository:shared/app:pull", as(401, 200, 403)],
  ["GET /v2/_catalog", "registry:catalog:*", as(200, 200, 200)],
  // A token for something else.
  [
    "GET /v2/public/app/manifests/1",
    "repository:public/other:pull",
    [401, 401, 401, 401, 200, 401, 200, 401],
  ],
  ["GET /v2/team/app/manifests/1", "repository:team/appb:pull", [401, 401, 401, 401, 200, 401, 200, 401]],
  ["GET /v2/_catalog", "repository:team/app:pull", [401, 401, 401, 401, 200, 401, 200, 401]],
];

const writes: readonly Row[] = [
  ["PUT /v2/public/app/manifests/3", "repository:public/app:pull,push", as(401, 403, 403)],
  ["PUT /v2/team/app/manifests/3", "repository:team/app:push,pull", as(401, 201, 403)],
  ["DELETE /v2/team/app/manifests/gone", "repository:team/app:delete", as(401, 404, 403)],
  ["POST /v2/team/app/blobs/uploads/", "repository:team/app:*", as(401, 202, 403)],
  ["PUT /v2/team/app/manifests/3", "repository:team/app:pull", [401, 401, 401, 401, 201, 401, 201, 401]],
  [
    "DELETE /v2/team/app/manifests/gone",
    "repository:team/app:push",
    [401, 401, 401, 401, 404, 401, 404, 401],
  ],
];

async function checkRows(
  t: Test,
  mirror: Mirror,
  rows: readonly Row[],
  time: { now: number },
): Promise<void> {
  const token = async (scopes: string, headers: Record<string, string>) => {
    const query = scopes === "" ? "" : `?scope=${encodeURIComponent(scopes)}`;
    const { body } = await mirror.get(`/v2/token${query}`, headers);
    return bearer(JSON.parse(body.toString()).token);
  };
  const [alice, bob] = [login("alice", users.alice), login("bob", users.bob)];
  for (const [request, scopes, statuses] of rows) {
    // Wrong passwords are forgotten.
    time.now += 10_000;
    const sent: Record<(typeof callers)[number], Record<string, string>> = {
      nobody: {},
      wrong: login("alice", "guess"),
      odd: bearer("alice"),
      anonymous: await token(scopes, {}),
      alice,
      "alice's token": await token(scopes, alice),
      "alice's free": await token("", alice),
      "bob's": await token(scopes, bob),
    };
    const [method = "", path = ""] = request.split(" ");
    const body = method === "PUT" ? image.manifest : undefined;
    const type: Record<string, string> = body === undefined ? {} : { "content-type": image.mediaType };
    for (const [at, who] of callers.entries()) {
      const answer = await mirror.ask(method, path, { ...sent[who], ...type }, body);
      const says = `${request} (${scopes}) by ${who}`;
      t.equal(answer.status, statuses[at], says);
      const challenge = answer.headers["www-authenticate"];
      if (answer.status !== 401) t.notOk(challenge, says);
      else
        t.match(challenge, /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/v2\/token",service="entrepot"/, says);
      if (answer.status === 401 || answer.status === 403) t.notOk(answer.headers["cache-status"], says);
    }
  }
}

const access = { ...namedAccess(users, rules), tokens: ownTokens };

t.test("reads, by every way to say who one is", async (t) => {
  const upstream = await startUpstream(t);
  const time = { now: 0 };
  const mirror = await startMirror(t, upstream, { access, steady: () => time.now });
  for (const repository of ["public/app", "team/app", "shared/app"])
    for (const tag of ["1", "v1", "2"]) upstream.addImage(repository, tag, image);
  await checkRows(t, mirror, reads, time);
  const tokens = upstream.requests.filter(({ headers }) => /^bearer/i.test(headers.authorization ?? ""));
  t.same(tokens, [], "tokens stay here");
});

t.test("writes", async (t) => {
  const time = { now: 0 };
  const { upstream, mirror } = await startBoth(t, { access, steady: () => time.now });
  const content = upstream.content("team/app");
  for (const { digest, bytes } of [image.config, ...image.layers]) content.blobs.set(digest, bytes);
  await checkRows(t, mirror, writes, time);
});

t.test("lists show the anonymous what they may have, and others more", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { access });
  for (const repository of ["public/app", "team/app", "shared/app"])
    for (const tag of ["1", "v1", "2"]) upstream.addImage(repository, tag, image);
  const alice = login("alice", users.alice);
  for (const repository of ["public/app", "team/app", "shared/app"])
    for (const tag of ["1", "v1"]) await mirror.get(`/v2/${repository}/manifests/${tag}`, alice);
  const { token } = JSON.parse((await mirror.get("/v2/token")).body.toString());
  const list = async (path: string, headers: Record<string, string>) =>
    JSON.parse((await mirror.get(path, headers)).body.toString());
  for (let round = 0; round < 2; round++) {
    t.same((await list("/v2/_catalog", bearer(token))).repositories, ["public/app", "shared/app"]);
    t.same((await list("/v2/_catalog", alice)).repositories, ["public/app", "shared/app", "team/app"]);
    t.same((await list("/v2/shared/app/tags/list", bearer(token))).tags, ["v1"]);
    t.same((await list("/v2/shared/app/tags/list", alice)).tags, ["1", "2", "v1"]);
  }
});
