// A refusal is of the account, which is an outage, or of what was asked for, which is believed: the questions that tell the
// two apart, and what is asked again before.
import t, { type Test } from "tap";
import { AccountChecks, type AccountVerdict } from "../../../src/upstream/auth/account-checks.ts";
import { connectUpstream, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import { helperProgram, printAccount } from "../../fixtures/helper-program.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { image, layer, other, startTokenUpstream } from "../../fixtures/token-upstream.ts";

const never = new AbortController().signal;
const words = (message: string) => ({
  body: JSON.stringify({ errors: [{ code: "DENIED", message }] }),
  headers: { "content-type": "application/json" },
});
const expired = words("Your authorization token has expired. Reauthenticate and try again.");

t.test("a verdict is asked for once by all, and believed for ten seconds", async (t) => {
  const clock = new ManualClock();
  const checks = new AccountChecks(clock.read);
  const verdicts: (AccountVerdict | Error)[] = ["accepted", "refused", new Error("no answer"), "accepted"];
  let asked = 0;
  const ask = async () => {
    const verdict = verdicts[asked++];
    if (verdict instanceof Error) throw verdict;
    return verdict;
  };
  t.same(await Promise.all([checks.check("a", ask), checks.check("a", ask)]), ["accepted", "accepted"]);
  t.equal(await checks.check("b", ask), "refused");
  clock.advance(9_999);
  t.equal(await checks.check("a", ask), "accepted");
  t.equal(asked, 2);
  clock.advance(2);
  t.equal(await checks.check("a", ask), undefined, "what fails is no verdict");
  t.equal(await checks.check("b", ask), "accepted");
});

/** A registry with Basic that lets only `good` in, and an account from a helper that has `secret`. */
async function withHelper(t: Test, secret = "old") {
  const clock = new ManualClock();
  const program = helperProgram(t.testdir(), printAccount("ci", secret));
  const auth = { kind: "helper", program: program.path, registry: "r", lifetime: 60_000_000 } as const;
  const registry = await startUpstream(t);
  registry.password = "old";
  registry.addImage(repository, "1", image);
  const connected = connectUpstream(t, registry.url, { auth }, clock.read);
  const { upstream } = connected;
  const questions = {
    head: () => upstream.headManifest(repository, tagged("1")),
    manifest: () => upstream.getManifest(repository, tagged("1")),
    blobHead: () => upstream.headBlob(repository, layer.digest),
    blob: async () => {
      const answer = await upstream.openBlob(repository, layer.digest, 0, never);
      if (answer.kind === "found") for await (const _ of answer.body);
      return answer;
    },
    tags: () => upstream.listTags(repository, 10, undefined),
  };
  return { clock, program, registry, questions, ...connected };
}

for (const status of [400, 401, 403])
  t.test(`credentials that have ended, told with ${status}: the source is asked again, once`, async (t) => {
    const { registry, program, questions, clock } = await withHelper(t);
    registry.fault(({ headers }) => {
      const good = `Basic ${Buffer.from(`ci:${registry.password}`).toString("base64")}`;
      const challenge = status === 401 ? { "www-authenticate": 'Basic realm="x"' } : {};
      return headers.authorization === good ? undefined : { ...expired, status, headers: challenge };
    });
    let version = 0;
    for (const [name, ask] of Object.entries(questions)) {
      t.match(await ask(), { kind: "found" }, name);
      version++;
      registry.password = `new ${version}`;
      program.become(printAccount("ci", `new ${version}`));
      registry.forget();
      t.match(await ask(), { kind: "found" }, `${name} with the new one`);
      t.equal(registry.count({ status }), 1, "refused once");
      t.equal(program.runs, version + 1);
    }
    registry.password = "another";
    for (const [name, ask] of Object.entries(questions)) {
      clock.advance(11_000);
      t.match(await upstreamError(ask()), { code: "auth", status }, `${name}: nothing better is there`);
    }
    t.equal(
      program.runs,
      version + 1 + Object.keys(questions).length,
      "asked again for each, and then believed",
    );
  });

for (const status of [400, 401, 403])
  t.test(`/v2/ accepts the account and the repository says ${status}: a refusal in its words`, async (t) => {
    const { registry, questions, of, program } = await withHelper(t);
    const message = "this token has expired for ci, who is not on the team";
    const headers = { "www-authenticate": 'Basic realm="x"' };
    registry.fault(({ kind }) =>
      kind === "ping" ? undefined : { ...words(message), status, ...(status === 401 ? { headers } : {}) },
    );
    for (const [name, ask] of Object.entries(questions)) {
      const answer = await ask();
      t.match(answer, { kind: "denied", words: { message } }, name);
      t.equal("status" in answer ? answer.status : 403, status === 401 ? 403 : status);
    }
    t.same(of("upstream_error"), []);
    const pings = registry.requests.filter(({ kind }) => kind === "ping");
    t.ok(pings.length <= 3, "with the account, and whether anybody is let in, once for all; how to prove it");
    t.equal(program.runs, 2, "once more than without a refusal");
  });

t.test("a /v2/ that lets everybody in says nothing of an account: the status and the words do", async (t) => {
  const { registry, questions, clock } = await withHelper(t);
  let fault: object = {};
  registry.fault(({ kind }) => (kind === "ping" ? { status: 200 } : fault));
  fault = { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } };
  t.match(await upstreamError(questions.manifest()), { code: "auth" });
  fault = { ...expired, status: 403 };
  t.match(await upstreamError(questions.manifest()), { code: "auth", message: /have expired/ });
  fault = { ...words("not on the team"), status: 403 };
  t.match(await questions.manifest(), { kind: "denied" });
  clock.advance(11_000);
  registry.fault(({ kind }) => (kind === "ping" ? { reset: true } : undefined));
  t.match(await questions.manifest(), { kind: "denied" }, "nor does one that cannot be asked");
});

t.test("a web page is no word on the account", async (t) => {
  const { registry, questions } = await withHelper(t);
  registry.fault(() => ({ status: 403, html: true }));
  t.match(await upstreamError(questions.manifest()), { code: "protocol" });
});

t.test("without an account there is none to refuse", async (t) => {
  const registry = await startUpstream(t, { anonymous: true });
  const { upstream } = connectUpstream(t, registry.url, { auth: { kind: "none" } });
  registry.fault(({ kind }) => (kind === "ping" ? undefined : { status: 401 }));
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "denied" });
  registry.fault(({ kind }) => (kind === "ping" ? { status: 401 } : { status: 403 }));
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "denied" });
  const closed = await startUpstream(t);
  const stranger = connectUpstream(t, closed.url, { auth: { kind: "none" } });
  t.match(await upstreamError(stranger.upstream.getManifest(repository, tagged("1"))), { code: "auth" });
});

t.test(
  "a token server that refuses the account is an outage, one that refuses the repository is not",
  async (t) => {
    const { tokens, head, upstream, registry, clock, of } = await startTokenUpstream(t);
    t.match(await head(), { kind: "found" });
    for (const status of [400, 401, 403]) {
      clock.advance(3_600_000);
      tokens.fault = ({ fields }) =>
        fields.get("scope")?.includes(other) ? { ...words("access forbidden"), status } : undefined;
      const refused = () => upstream.getManifest(other, tagged("1"));
      t.match(await refused(), { kind: "denied", words: { message: "access forbidden" } }, `${status}`);
      t.match(await upstream.headBlob(other, layer.digest), { kind: "denied" });
      t.match(await head(), { kind: "found" }, "and of no other repository");
      clock.advance(3_600_000);
      const errors = of("upstream_error").length;
      tokens.fault = () => ({ status });
      t.match(await upstreamError(refused()), { code: "auth", status });
      t.equal(of("upstream_error").length, errors + 1);
      tokens.fault = () => undefined;
    }
    t.equal(registry.count({ repository: other }), 0);
  },
);

t.test("a 401 for a new token: /v2/ says whether it is the token or the repository", async (t) => {
  const { tokens, registry, upstream, clock } = await startTokenUpstream(t);
  const bare = `Bearer realm="${tokens.realm}",service="x"`;
  const seesPing = registry.fault(({ kind, headers }) => {
    if (kind === "ping") return headers.authorization?.startsWith("Bearer ") ? { status: 200 } : undefined;
    return {
      ...words("access to the requested resource is not authorized"),
      status: 401,
      headers: { "www-authenticate": bare },
    };
  });
  t.match(await upstream.getManifest(repository, tagged("1")), {
    kind: "denied",
    words: { message: /not authorized/ },
  });
  seesPing();
  clock.advance(60_000);
  registry.fault(() => ({ status: 401, headers: { "www-authenticate": bare } }));
  t.match(await upstreamError(upstream.getManifest(repository, tagged("1"))), { code: "auth" });
});

t.test("strangers whose token does not do are refused, not broken", async (t) => {
  const { tokens, registry, upstream } = await startTokenUpstream(t, { config: { auth: { kind: "none" } } });
  const bare = `Bearer realm="${tokens.realm}",service="x"`;
  registry.fault(() => ({ status: 401, headers: { "www-authenticate": bare } }));
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "denied" });
  tokens.fault = () => ({ ...words("requested access to the resource is denied"), status: 403 });
  t.match(await upstream.getManifest(other, tagged("1")), {
    kind: "denied",
    words: { message: "requested access to the resource is denied" },
  });
});
