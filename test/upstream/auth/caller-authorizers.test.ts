// A caller's token is never used for another caller.
import t from "tap";
import { plainUpstream } from "../../../src/config/config.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../../src/oci/name.ts";
import type { Reference } from "../../../src/oci/reference.ts";
import { CallerCredentials } from "../../../src/ports/caller-credentials.ts";
import { createUpstream } from "../../../src/upstream/http-upstream.ts";
import { login } from "../../fixtures/access.ts";
import { makeImage } from "../../fixtures/images.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../../fixtures/token-server.ts";

const image = makeImage({ layers: [1_000], seed: "callers" });
const repository = parseRepository("team/app") as Repository;
const tag: Reference = { kind: "tag", tag: parseTag("1") as Tag };

function caller(name: string, password: string): CallerCredentials {
  return new CallerCredentials(Buffer.from(`${name}:${password}`).toString("base64"), `${name} ${password}`);
}

t.test("each caller gets its own token, and only from its own credentials", async (t) => {
  const server = await startTokenServer(t, { username: "ci", password: "s3cret" });
  const upstream = await startUpstream(t, { bearer: server });
  upstream.addImage("team/app", "1", image);
  const far = createUpstream(
    { ...plainUpstream("far", upstream.url), access: "passthrough", tokenRealms: [server.realm.host] },
    { notices: () => {} },
  );
  t.teardown(() => far.close());
  const right = far.forCaller(caller("ci", "s3cret"));
  const wrong = far.forCaller(caller("mallory", "s3cret"));
  t.match(await right.headManifest(repository, tag), { kind: "found" });
  t.match(await wrong.headManifest(repository, tag), { kind: "denied", status: 401 });
  t.match(await wrong.checkAccount(), { kind: "denied", status: 401 });
  t.match(await right.checkAccount(), { kind: "found" });
  const tokens = server.requests.length;
  t.match(await far.forCaller(caller("ci", "s3cret")).headManifest(repository, tag), { kind: "found" });
  t.equal(server.requests.length, tokens, "its own token serves its next request");
  t.match(await wrong.headManifest(repository, tag), { kind: "denied", status: 401 });
  await t.rejects(far.headManifest(repository, tag), { code: "auth" }, "nobody asks with a caller's token");
  const good = login("ci", "s3cret").authorization;
  const used = server.requests.filter(({ authorization }) => authorization === good).length;
  t.ok(used >= 1 && used < server.requests.length);
});

t.test("without passthrough no caller's credentials are sent", async (t) => {
  const upstream = await startUpstream(t);
  const far = createUpstream(plainUpstream("far", upstream.url), { notices: () => {} });
  t.teardown(() => far.close());
  await t.rejects(
    far.forCaller(caller("ci", "s3cret")).headManifest(repository, tag),
    /not asked with credentials/,
  );
  t.equal(upstream.requests.length, 0);
});
