// A real docker-registry that takes nothing but signed tokens, each for one repository.
import { join } from "node:path";
import t, { type Test } from "tap";
import { run } from "./fixtures/child.ts";
import { startRegistry } from "./fixtures/far-registry.ts";
import { makeLayout } from "./fixtures/images.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { requires } from "./fixtures/requires.ts";
import { startTokenIssuer, tokenIssuerPrograms } from "./fixtures/token-issuer.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(120_000);

t.test("an upstream with tokens", async (t) => {
  if (!requires(t, "linux", "docker-registry", "skopeo", "busybox", ...tokenIssuerPrograms)) return;
  const directory = await workDirectory(t);
  const issuer = await startTokenIssuer(t, directory);
  const registry = await startRegistry(t, directory, { auth: issuer.registryAuth });
  issuer.origin = registry;
  const images = await makeLayout(join(directory, "layout"));
  for (const name of ["team/app", "closed/app", "open/app"]) {
    const target = `docker://${registry.host}/${name}:1`;
    const account = `${issuer.username}:${issuer.password}`;
    const flags = [
      "--quiet",
      "--all",
      "--preserve-digests",
      "--dest-tls-verify=false",
      "--dest-creds",
      account,
    ];
    await run("skopeo", ["copy", ...flags, `oci:${images.directory}:multi`, target], { env: noInternet });
  }
  issuer.forbidden.add("closed/app");

  /** Copies every platform through a mirror; skopeo checks every digest. */
  const copy = async (t: Test, host: string, name: string): Promise<void> => {
    const flags = ["--quiet", "--all", "--src-tls-verify=false"];
    const target = `oci:${join(await workDirectory(t), "copy")}:1`;
    await run("skopeo", ["copy", ...flags, `docker://${host}/${name}:1`, target], { env: noInternet });
  };
  const manifest = (url: string, name: string) => fetch(`${url}/v2/${name}/manifests/1`);

  await t.test("a whole image is pulled with one token and one password", async (t) => {
    issuer.forget();
    const mirror = await startMirror(t, issuer);
    await copy(t, mirror.host, "team/app");
    t.same(issuer.tokens, [{ account: "ci", scopes: ["repository:team/app:pull"] }]);
    t.same(
      issuer.relayed
        .filter(({ scheme }) => scheme !== "Bearer")
        .map(({ scheme, status }) => [scheme, status]),
      [["Basic", 401]],
      "the first request, from which it learnt",
    );
    t.ok(issuer.relayed.filter(({ status }) => status === 200).length > images.app.blobs.length);
    await copy(t, mirror.host, "open/app");
    t.equal(issuer.tokens.length, 2, "one more for another repository");
    t.equal(issuer.relayed.filter(({ status }) => status === 401).length, 1);
  });

  await t.test("a token the registry does not take is replaced, and no client notices", async (t) => {
    const mirror = await startMirror(t, issuer);
    t.equal((await manifest(mirror.url, "team/app")).status, 200);
    issuer.forget();
    issuer.spoilt = 1;
    t.equal((await manifest(mirror.url, "open/app")).status, 200);
    t.equal(issuer.tokens.length, 2);
    const statuses = issuer.relayed.map(({ scheme, status }) => `${scheme} ${status}`);
    t.same(statuses.slice(0, 2), ["Bearer 401", "Bearer 200"]);
  });

  await t.test(
    "a repository the account may not read is refused; the account is not suspected",
    async (t) => {
      const mirror = await startMirror(t, issuer);
      const refused = await manifest(mirror.url, "closed/app");
      t.equal(refused.status, 403);
      t.equal(refused.headers.get("www-authenticate"), null, "the client is not asked for an account");
      t.equal((await manifest(mirror.url, "team/app")).status, 200);
      t.notMatch(mirror.process.output(), /refuses this mirror's credentials/);
    },
  );

  await t.test("without an account, what is open to everybody", async (t) => {
    issuer.forget();
    const nobody = { ENTREPOT_UPSTREAM_USERNAME: "", ENTREPOT_UPSTREAM_PASSWORD: "" };
    const mirror = await startMirror(t, issuer, { env: nobody });
    await copy(t, mirror.host, "open/app");
    t.same(issuer.tokens, [{ account: "nobody", scopes: ["repository:open/app:pull"] }]);
    t.equal((await manifest(mirror.url, "team/app")).status, 403);
  });

  await t.test("a wrong password is an error of this mirror, told in its log", async (t) => {
    const mirror = await startMirror(t, { ...issuer, url: issuer.url, username: "ci", password: "wrong" });
    t.equal((await manifest(mirror.url, "team/app")).status, 502);
    await mirror.process.line((line) => line.includes("refuses this mirror's credentials") || undefined);
    t.notMatch(mirror.process.output(), /wrong|Y2k6d3Jvbmc/);
  });
});
