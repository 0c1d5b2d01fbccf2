import t from "tap";
import { KeySet } from "../../../src/gate/token/key-set.ts";
import {
  isWorkload,
  WorkloadIdentities,
  type WorkloadIssuer,
} from "../../../src/gate/token/workload-identities.ts";
import { type JwtIssuer, startJwtIssuer } from "../../fixtures/jwt-issuer.ts";

function of(issuer: JwtIssuer, more: Partial<WorkloadIssuer> = {}): WorkloadIssuer {
  const keys = new KeySet({ load: () => issuer.set(), failed: () => {}, isNear: false, clock: () => 0 });
  return { name: "oidc", issuer: issuer.url, audience: "mirror", keys, claims: {}, groups: [], ...more };
}

function identities(...issuers: WorkloadIssuer[]) {
  const directory = new WorkloadIdentities({ issuers, clock: Date.now, steady: () => 1_000 });
  return (token: string) => directory.find("oidc", Buffer.from(token));
}

t.test("the login of the user oidc, and of nobody whose name is near", async (t) => {
  const token = (name: string) => Buffer.from(`${name}:secret`).toString("base64");
  t.ok(isWorkload(token("oidc")));
  t.ok(isWorkload(Buffer.from("oidc:").toString("base64")));
  for (const name of ["oid", "oidcx", "oidc2", "Oidc", "oidd", "xoidc", "oidc9"])
    t.notOk(isWorkload(token(name)), name);
});

t.test("a service account of Kubernetes", async (t) => {
  const issuer = await startJwtIssuer(t);
  const find = identities(
    of(issuer, {
      name: "cluster",
      claims: { "kubernetes.io/namespace": "{ci,team-*}" },
      groups: ["kubernetes.io/namespace", "aud", "absent"],
    }),
  );
  const claims = (namespace: string) => ({
    sub: `system:serviceaccount:${namespace}:puller`,
    "kubernetes.io": { namespace, serviceaccount: { name: "puller" } },
  });
  t.match(await find(await issuer.sign(claims("team-a"))), {
    name: "cluster:system:serviceaccount:team-a:puller",
    groups: ["cluster:kubernetes.io/namespace=team-a", "cluster:aud=mirror"],
  });
  t.equal(await find(await issuer.sign(claims("kube-system"))), undefined);
  t.equal(
    (await find(await issuer.sign({ sub: "x", "kubernetes.io/namespace": "ci" }))) === undefined,
    false,
  );
});

t.test("a job of a forge", async (t) => {
  const issuer = await startJwtIssuer(t);
  const find = identities(
    of(issuer, { claims: { repository: "acme/*", ref_protected: "true" }, groups: ["repository_owner"] }),
  );
  const job = { sub: "repo:acme/app:ref:refs/heads/main", repository: "acme/app", repository_owner: "acme" };
  t.match(await find(await issuer.sign({ ...job, ref_protected: "true" })), {
    name: "oidc:repo:acme/app:ref:refs/heads/main",
    groups: ["oidc:repository_owner=acme"],
  });
  t.ok(await find(await issuer.sign({ ...job, ref_protected: true })), "a claim that is no text");
  for (const other of [
    { ...job },
    { ...job, ref_protected: "false" },
    { ...job, ref_protected: "true", repository: "evil/acme/app" },
    { ...job, ref_protected: "true", repository: "acme/app/x" },
    { ...job, ref_protected: "true", repository: { name: "acme/app" } },
    { ...job, ref_protected: "true", sub: "" },
    { ...job, ref_protected: "true", sub: undefined },
    { ...job, ref_protected: "true", sub: `a\nb` },
    { ...job, ref_protected: "true", sub: "x".repeat(300) },
  ])
    t.equal(await find(await issuer.sign(other)), undefined, JSON.stringify(other).slice(0, 120));
});

t.test("it is proved as long as the token lasts, and half a minute more", async (t) => {
  const issuer = await startJwtIssuer(t);
  const person = await identities(of(issuer))(await issuer.sign({}));
  const left = (person?.until ?? 0) - 1_000;
  t.ok(left > 300_000 && left <= 330_000, String(left));
});

t.test("of two issuers neither speaks for the other", async (t) => {
  const [one, other] = [await startJwtIssuer(t), await startJwtIssuer(t)];
  const find = identities(of(one, { name: "one" }), of(other, { name: "other" }));
  t.equal((await find(await one.sign({ sub: "a" })))?.name, "one:a");
  t.equal((await find(await other.sign({ sub: "a" })))?.name, "other:a");
  t.equal(await find(await other.sign({ sub: "a", iss: one.url })), undefined);
  t.equal(await find(await one.sign({ aud: "another" })), undefined);
  t.equal(await find("no token"), undefined);
  t.equal(await find(""), undefined);
});
