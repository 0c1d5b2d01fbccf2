// Tokens as clients get and use them, at the whole mirror.
import t, { type Test } from "tap";
import { bearer, login, namedAccess, ownTokens, rule } from "../../fixtures/access.ts";
import { makeImage } from "../../fixtures/images.ts";
import { type Mirror, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "tokens" });
const rules = [
  rule({ anonymous: true, repositories: ["public/**"] }),
  rule({ users: ["alice"], repositories: ["team/**"] }),
];

async function setUp(t: Test) {
  const upstream = await startUpstream(t);
  for (const repository of ["public/app", "team/app"]) upstream.addImage(repository, "1", image);
  const time = { now: Date.parse("2026-11-30T10:00:00Z") };
  const access = { ...namedAccess({ alice: "alice-pw" }, rules), tokens: ownTokens };
  const mirror = await startMirror(t, upstream, { access, clock: () => time.now });
  return { mirror, time, upstream };
}

interface Given {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly token: string;
  readonly json: Record<string, unknown>;
}

async function given(mirror: Mirror, query: string, headers: Record<string, string> = {}): Promise<Given> {
  const answer = await mirror.get(`/v2/token${query}`, headers);
  const json = JSON.parse(answer.body.toString());
  return { ...answer, token: json.token, json };
}

async function posted(
  mirror: Mirror,
  form: Record<string, string>,
  type = "application/x-www-form-urlencoded",
) {
  const body = Buffer.from(new URLSearchParams(form).toString());
  const answer = await mirror.ask("POST", "/v2/token", { "content-type": type }, body);
  return { ...answer, json: JSON.parse(answer.body.toString()) };
}

const alice = login("alice", "alice-pw");
const service = "service=entrepot";

t.test("the challenge says where a token is to be had, and what it has to be for", async (t) => {
  const { mirror } = await setUp(t);
  const realm = `realm="${mirror.url.origin}/v2/token",service="entrepot"`;
  const challenge = async (method: string, path: string, headers = {}) => {
    const { status, headers: got } = await mirror.ask(method, path, headers);
    t.equal(status, 401, `${method} ${path}`);
    return got["www-authenticate"];
  };
  t.equal(await challenge("GET", "/v2/"), `Bearer ${realm}`);
  t.equal(await challenge("GET", "/v2/nothing"), `Bearer ${realm}`);
  t.equal(
    await challenge("GET", "/v2/team/app/manifests/1"),
    `Bearer ${realm},scope="repository:team/app:pull"`,
  );
  t.equal(
    await challenge("GET", "/upstream/v2/team/app/tags/list"),
    `Bearer ${realm},scope="repository:team/app:pull"`,
  );
  t.equal(
    await challenge("POST", "/v2/team/app/blobs/uploads/"),
    `Bearer ${realm},scope="repository:team/app:pull,push"`,
  );
  t.equal(
    await challenge("DELETE", "/v2/team/app/manifests/1"),
    `Bearer ${realm},scope="repository:team/app:delete"`,
  );
  t.equal(await challenge("GET", "/v2/_catalog"), `Bearer ${realm},scope="registry:catalog:*"`);
  t.equal(
    await challenge("GET", "/v2/team/app/manifests/1", bearer("no.such.token")),
    `Bearer ${realm},scope="repository:team/app:pull",error="invalid_token"`,
  );
  t.equal(await challenge("GET", "/v2/", login("alice", "wrong")), `Bearer ${realm}`);
});

t.test("without a login a token is given, and is good for what everybody may have", async (t) => {
  const { mirror } = await setUp(t);
  const { status, json, token, headers } = await given(
    mirror,
    `?${service}&scope=repository%3Apublic%2Fapp%3Apull`,
  );
  t.equal(status, 200);
  t.equal(headers["cache-control"], "no-store");
  t.match(json, { token, access_token: token, expires_in: 300 });
  t.notOk("issued_at" in json);
  t.notOk("refresh_token" in json);
  const get = (path: string) => mirror.get(path, bearer(token));
  t.equal((await get("/v2/")).status, 200);
  t.equal((await get("/v2/public/app/manifests/1")).status, 200);
  const refused = await get("/v2/team/app/manifests/1");
  t.equal(refused.status, 401);
  t.match(
    refused.headers["www-authenticate"],
    /scope="repository:team\/app:pull",error="insufficient_scope"$/,
  );
  const wide = await given(mirror, `?${service}&scope=repository:team/app:pull`);
  t.equal(wide.status, 200, "as other registries do: what it is worth the rules say");
  const still = await mirror.get("/v2/team/app/manifests/1", bearer(wide.token));
  t.equal(still.status, 401, "whoever has no name may have more rights with one");
});

t.test("with a login a token is somebody's, within what the client has asked for", async (t) => {
  const { mirror } = await setUp(t);
  const { token } = await given(mirror, `?${service}&scope=repository:team/app:pull&account=alice`, alice);
  const status = async (path: string, of = token, method = "GET") =>
    (await mirror.ask(method, path, bearer(of))).status;
  t.equal(await status("/v2/"), 200);
  t.equal(await status("/v2/team/app/manifests/1"), 200);
  t.equal(await status("/v2/team/app/tags/list"), 200);
  t.equal(await status("/v2/team/other/manifests/1"), 401, "another repository");
  t.equal(await status("/v2/team/app/manifests/1", token, "PUT"), 401, "to write was not asked for");
  t.equal(await status("/v2/_catalog"), 401);
  const both = await given(
    mirror,
    `?${service}&scope=repository:team/app:pull&scope=repository:team/other:pull%20registry:catalog:*`,
    alice,
  );
  t.equal(await status("/v2/team/other/manifests/1", both.token), 404);
  t.equal(await status("/v2/_catalog", both.token), 200);
  const foreign = await given(mirror, `?${service}&scope=repository:else/app:pull`, alice);
  t.equal(
    await status("/v2/else/app/manifests/1", foreign.token),
    403,
    "what the rules say no token changes",
  );
  const free = await given(mirror, `?${service}&offline_token=true&client_id=docker`, alice);
  t.equal(await status("/v2/team/app/manifests/1", free.token), 200, "no scope is no limit");
  const lines = mirror.lines.filter(({ route }) => route === "token");
  t.match(lines, [{ user: "alice" }, { user: "alice" }, { user: "alice" }, { user: "alice" }]);
  t.notMatch(
    JSON.stringify(mirror.lines),
    new RegExp(`${free.token}|${token}|alice-pw`),
    "no secret in the log",
  );
});

t.test("credentials that are sent at once are taken as ever", async (t) => {
  const { mirror } = await setUp(t);
  t.equal((await mirror.get("/v2/team/app/manifests/1", alice)).status, 200);
  t.equal((await mirror.get("/v2/team/app/manifests/1", login("alice", "no"))).status, 401);
});

t.test("who cannot have a token is asked for a password", async (t) => {
  const { mirror } = await setUp(t);
  for (const wrong of [login("alice", "no"), login("", ""), { authorization: "Basic !" }, bearer("x")]) {
    const { status, headers, json } = await given(mirror, `?${service}`, wrong);
    t.equal(status, 401);
    t.equal(headers["www-authenticate"], 'Basic realm="entrepot"');
    t.match(json, { errors: [{ code: "UNAUTHORIZED" }] });
  }
  t.equal((await given(mirror, "?service=another.example.com", alice)).status, 400);
  t.equal((await given(mirror, "", alice)).status, 200);
  t.equal((await mirror.ask("DELETE", "/v2/token", alice)).status, 405);
  t.equal((await mirror.ask("HEAD", "/v2/token", alice)).status, 200);
});

t.test("without a rule for the anonymous nobody gets a token without a login", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, {
    access: { ...namedAccess({ alice: "alice-pw" }), tokens: ownTokens },
  });
  t.equal((await mirror.get("/v2/token")).status, 401);
  t.equal((await mirror.get("/v2/token", alice)).status, 200);
  const other = await startMirror(t, upstream, {
    cache: { dir: t.testdir() },
    access: {
      ...namedAccess({ alice: "alice-pw" }, [rule({ anonymous: true, networks: ["10.0.0.0/8"] })]),
      tokens: ownTokens,
    },
  });
  t.equal((await other.get("/v2/token")).status, 401, "the rule is for another network");
});

t.test("by POST, as containerd asks", async (t) => {
  const { mirror } = await setUp(t);
  const form = {
    grant_type: "password",
    username: "alice",
    password: "alice-pw",
    service: "entrepot",
    scope: "repository:team/app:pull repository:team/other:pull",
    client_id: "containerd-client",
  };
  const type = "application/x-www-form-urlencoded; charset=utf-8";
  const { status, json } = await posted(mirror, form, type);
  t.equal(status, 200);
  t.equal((await mirror.get("/v2/team/app/manifests/1", bearer(json.access_token))).status, 200);
  t.equal((await mirror.get("/v2/team/x/manifests/1", bearer(json.access_token))).status, 401);
  t.equal((await posted(mirror, { ...form, password: "no" })).status, 401);
  t.equal((await posted(mirror, { ...form, username: "alice:alice-pw" })).status, 401);
  t.equal((await posted(mirror, { ...form, grant_type: "refresh_token" })).status, 400);
  t.equal((await posted(mirror, form, "application/json")).status, 400);
  t.equal((await posted(mirror, { ...form, more: "x".repeat(70_000) })).status, 400, "longer than a form is");
});

t.test("a token ends, and the client is told to get another", async (t) => {
  const { mirror, time } = await setUp(t);
  const { token } = await given(mirror, `?${service}&scope=repository:team/app:pull`, alice);
  const get = () => mirror.get("/v2/team/app/manifests/1", bearer(token));
  t.equal((await get()).status, 200);
  time.now += 329_000;
  t.equal((await get()).status, 200, "clocks may differ by half a minute");
  time.now += 62_000;
  const { status, headers } = await get();
  t.equal(status, 401);
  t.match(headers["www-authenticate"], /error="invalid_token"$/);
});

t.test("too many scopes, and what is none", async (t) => {
  const { mirror } = await setUp(t);
  const many = Array.from({ length: 65 }, (_, at) => `scope=repository:team/app${at}:pull`).join("&");
  t.equal((await given(mirror, `?${many}`, alice)).status, 400);
  t.equal((await given(mirror, `?scope=${"x".repeat(9_000)}`, alice)).status, 400);
  const odd = await given(
    mirror,
    "?scope=repository:../etc:pull&scope=x&scope=repository:team/app:fly",
    alice,
  );
  t.equal(odd.status, 200);
  t.equal((await mirror.get("/v2/", bearer(odd.token))).status, 200);
  t.equal(
    (await mirror.get("/v2/team/app/manifests/1", bearer(odd.token))).status,
    401,
    "a client that asked for a scope gets no more than that",
  );
});
